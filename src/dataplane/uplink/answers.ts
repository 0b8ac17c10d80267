import { hostPrefix } from "../../base/cidr.ts";
import { familyOf, type IpAddress, type IpFamily } from "../../base/ip.ts";
import { isErrno } from "../../linux/index.ts";
import {
  type BatchResult,
  deleteProxyNeighbour,
  type Link,
  listProxyNeighbours,
  type ProxyNeighbour,
  type Route,
  replaceProxyNeighbour,
} from "../../netlink/index.ts";
import { weftProtocol } from "../kernel-names.ts";
import { ensureAnswering, type SwitchedOn } from "./answering-devices.ts";
import type { Side } from "./pair.ts";

/** What became of the answers of the host. */
export interface Answers {
  /** Addresses that it did not answer for before. */
  readonly made: readonly IpAddress[];
  readonly switchedOn: readonly SwitchedOn[];
  /** How often settings were written. */
  readonly writes: number;
}

/**
 * Makes the host answer for these floating addresses, each on the link of its device, by proxy entries: so no address becomes
 * the host's own, and the kernel goes on answering while no agent runs.
 *
 * Whose an entry is, it does not say. It is right as long as a route of weft's leads the address to a tenant, so that it comes
 * after the route and goes before it. `others`: routes beside those of the uplink that asks. What none of them leads to goes.
 */
export async function ensureAnswers(
  underlay: Side,
  wanted: ReadonlyMap<IpAddress, number>,
  others: readonly Route[],
  links: readonly Link[],
): Promise<Answers> {
  const { socket } = underlay;
  const present = await socket.dump(listProxyNeighbours());
  const own = present.filter(({ protocol }) => protocol === weftProtocol);
  const led = new Set(others.filter(({ protocol }) => protocol === weftProtocol).map(({ destination }) => destination));
  const missing = Array.from(wanted, ([ip, index]): ProxyNeighbour => ({ index, ip, protocol: weftProtocol })).filter(
    ({ ip, index }) => !own.some((each) => each.ip === ip && each.index === index),
  );
  const isSurplus = ({ ip, index }: ProxyNeighbour): boolean => wanted.get(ip) !== index && !led.has(hostPrefix(ip));
  const kept = own.filter((each) => !isSurplus(each));
  const devicesOf = (family: IpFamily): string[] => {
    const used = new Set([...kept, ...missing].filter(({ ip }) => familyOf(ip) === family).map(({ index }) => index));
    return links.filter(({ index }) => used.has(index)).map(({ name }) => name);
  };
  const answering = await ensureAnswering(underlay, { 4: devicesOf(4), 6: devicesOf(6) });
  const surplus = own.filter(isSurplus);
  expectDone(await socket.batch([...missing.map(replaceProxyNeighbour), ...surplus.map(deleteProxyNeighbour)]));
  return { made: missing.map(({ ip }) => ip), ...answering };
}

/** The device may have taken the entry with it. */
function expectDone({ failures }: BatchResult): void {
  const failure = failures.find(({ error }) => !isErrno(error, "ENOENT"));
  if (failure !== undefined) throw failure.error;
}
