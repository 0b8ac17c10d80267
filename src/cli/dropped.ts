/** Frames that an endpoint sent and may not: `20 mac, 3 arp`; empty: none. */
export function droppedText(dropped: Readonly<Record<string, number | string | bigint>>): string {
  return Object.entries(dropped)
    .map(([reason, frames]) => `${frames} ${reason}`)
    .join(", ");
}
