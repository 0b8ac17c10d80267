import { familyOf } from "../../base/ip.ts";
import type { Cause } from "./outcome.ts";
import type { Packet } from "./packet.ts";
import { protocols } from "./protocols.ts";
import type { Chain, Ruleset } from "./ruleset.ts";

/** Which rule it is, and what it says: `rule "tcp dport 22 drop" of chain inet filter input, handle 7`. */
export function causeWords({ chain, rule }: Cause): string {
  const { family, table, name, origin, base } = chain;
  const place = `chain ${origin === "legacy" ? `${programOf(chain)} ${table}` : `${family} ${table}`} ${name}`;
  if (rule === undefined) return `policy ${base?.policy} of ${place}, at ${base?.hook}, priority ${base?.priority}`;
  const number = origin === "legacy" ? `number ${rule.handle}` : `handle ${rule.handle}`;
  return `rule "${rule.text}" of ${place}, ${number}`;
}

/** Commands against a rule or policy that drops a packet. */
export interface Remedies {
  /** Takes it away, for all packets. */
  readonly remove: string;
  /** Accepts such packets before it. */
  readonly precede: string;
  /** Who wrote the chain and writes it again, and would undo both: how it is told instead. */
  readonly manager?: { readonly name: string; readonly command: string };
}

export function remediesFor(ruleset: Ruleset, cause: Cause, packet: Packet): Remedies {
  const commands = isOfIptables(cause.chain) ? iptablesCommands(cause, packet) : nftCommands(cause, packet);
  const manager = managerOf(ruleset, cause.chain, packet);
  return manager === undefined ? commands : { ...commands, manager };
}

function nftCommands({ chain, rule }: Cause, packet: Packet): Pick<Remedies, "remove" | "precede"> {
  const place = `${chain.family} ${chain.table} ${chain.name}`;
  const accept = `${nftWords(packet)} accept`;
  if (rule === undefined)
    return { remove: `nft chain ${place} '{ policy accept; }'`, precede: `nft add rule ${place} ${accept}` };
  const handle = `handle ${rule.handle}`;
  return { remove: `nft delete rule ${place} ${handle}`, precede: `nft insert rule ${place} ${handle} ${accept}` };
}

function nftWords(packet: Packet): string {
  const { source, destination, protocol, destinationPort, icmp } = packet;
  const family = familyOf(source) === 4 ? "ip" : "ip6";
  const addresses = `${family} saddr ${source} ${family} daddr ${destination}`;
  const name = portProtocols[protocol];
  if (name !== undefined && typeof destinationPort === "number") return `${addresses} ${name} dport ${destinationPort}`;
  if (icmp !== undefined) return `${addresses} ${family === "ip" ? "icmp" : "icmpv6"} type ${icmp.type}`;
  return `${addresses} meta l4proto ${protocol}`;
}

const portProtocols: Readonly<Record<number, string>> = { [protocols.tcp]: "tcp", [protocols.udp]: "udp" };

/** Tables with names of iptables', which it would refuse to touch any more once they had rules of nft's. */
const isOfIptables = ({ family, table }: Chain): boolean =>
  (family === "ip" || family === "ip6") && ["raw", "mangle", "nat", "filter", "security"].includes(table);

const programOf = ({ family, origin }: Chain): string =>
  `${family === "ip6" ? "ip6tables" : "iptables"}-${origin === "legacy" ? "legacy" : "nft"}`;

function iptablesCommands({ chain, rule }: Cause, packet: Packet): Pick<Remedies, "remove" | "precede"> {
  const begin = `${programOf(chain)} -t ${chain.table}`;
  const accept = `${iptablesWords(packet)} -j ACCEPT`;
  if (rule === undefined)
    return { remove: `${begin} -P ${chain.name} ACCEPT`, precede: `${begin} -A ${chain.name} ${accept}` };
  const place = `${chain.name} ${chain.rules.findIndex(({ handle }) => handle === rule.handle) + 1}`;
  return { remove: `${begin} -D ${place}`, precede: `${begin} -I ${place} ${accept}` };
}

function iptablesWords({ source, destination, protocol, destinationPort, icmp }: Packet): string {
  const addresses = `-s ${source} -d ${destination}`;
  const name = portProtocols[protocol];
  if (name !== undefined && typeof destinationPort === "number")
    return `${addresses} -p ${name} --dport ${destinationPort}`;
  if (icmp === undefined) return `${addresses} -p ${protocol}`;
  const type = familyOf(source) === 4 ? "-p icmp --icmp-type" : "-p icmpv6 --icmpv6-type";
  return `${addresses} ${type} ${icmp.type}`;
}

/** Who keeps a chain, by the names that they give. */
function managerOf({ chains }: Ruleset, chain: Chain, packet: Packet): Remedies["manager"] {
  const { source, destination } = packet;
  const ofTable = chains.filter((each) => each.table === chain.table && each.family === chain.family);
  const has = (pattern: RegExp): boolean => ofTable.some(({ name }) => pattern.test(name));
  const [isForwarded, isSent] = [
    packet.in !== undefined && packet.out !== undefined,
    packet.in === undefined && packet.out !== undefined,
  ];
  if (chain.table === "firewalld")
    return {
      name: "firewalld",
      command: `firewall-cmd --permanent --zone=trusted --add-source=${source} && firewall-cmd --reload`,
    };
  if (has(/^ufw6?-/)) {
    const between = `from ${source} to ${destination}`;
    const command = isForwarded ? `ufw route allow ${between}` : `ufw allow ${isSent ? "out " : ""}${between}`;
    return { name: "ufw", command };
  }
  if (isForwarded && has(/^DOCKER-USER$/)) {
    const program = programOf(chain);
    return { name: "Docker", command: `${program} -I DOCKER-USER -s ${source} -d ${destination} -j ACCEPT` };
  }
  return undefined;
}
