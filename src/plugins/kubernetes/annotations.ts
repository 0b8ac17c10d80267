/** Annotations that weft reads. Whoever may change a namespace decides which networks its pods may be in; a pod chooses among them. */
export const annotations = {
  /** Of a Namespace: networks that its pods may be in, with commas between. The first is that of pods that name none. */
  networks: "weft.dev/networks",
  /** Of a Pod: the network of its own interface. */
  network: "weft.dev/network",
  /** Of a Pod: the addresses of that interface. */
  addresses: "weft.dev/addresses",
  /** Of a Pod: its MAC address. */
  mac: "weft.dev/mac",
} as const;

/** Networks of a namespace's pods. `usual`: of pods in namespaces that name none. */
export function networksOf(
  annotated: Readonly<Record<string, string>> | undefined,
  usual: string,
): readonly [first: string, ...others: string[]] {
  const [first, ...others] = (annotated?.[annotations.networks] ?? "")
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  return first === undefined ? [usual] : [first, ...new Set(others)];
}
