import { systemClock } from "../../base/clock.ts";
import { milliseconds } from "../../base/duration.ts";
import { WeftError } from "../../base/errors.ts";
import type { NetworkNamespace } from "../../linux/index.ts";
import { type DecodeFrameOptions, tunnelPorts } from "../../wire/index.ts";
import { allOf, asksDirection, compileFilter, type Filter } from "./filter.ts";
import { mergeByTime } from "./merge.ts";
import type { CapturedPacket, CaptureSource, Link, Place } from "./packet.ts";
import { type Located, locate } from "./places.ts";
import { planPoints, type Selection } from "./points.ts";
import { LocalSource } from "./source.ts";
import { transportsOf } from "./texts.ts";
import type { NodeView } from "./view.ts";

export interface CaptureOptions {
  readonly view: NodeView;
  readonly selection: Selection;
  /** Opens the namespace that the node's agent is in. */
  readonly host: () => NetworkNamespace;
  /** In pcap's syntax: what packets must be like as they are at the interface. Empty: like anything. */
  readonly filter: string;
  /** The same of the tenant's packet: on the underlay that in the tunnel. */
  readonly inner: string;
  /** Octets that are kept of each packet. */
  readonly snapLength: number;
  /** Told of what is no packet. */
  readonly onNote: (note: string) => void;
}

export interface Capture {
  readonly places: readonly Place[];
  /** How packets are to be read: which ports carry tunnels. */
  readonly decode: DecodeFrameOptions;
  readonly sources: readonly CaptureSource[];
  /** In the order of their times, until `signal`. */
  packets(signal: AbortSignal): AsyncIterable<readonly CapturedPacket[]>;
  close(): void;
}

/** Octets of packets that wait to be read, of all sources together, and of one at least and at most. */
const roomOfAll = 64 << 20;
const roomOfOne = { least: 256 << 10, most: 16 << 20 } as const;
/** Namespaces and kinds of packets that are captured at once. */
const mostSources = 128;
/** The kernel hands packets over within 20 ms. */
const lag = milliseconds(100);

/** Begins to keep packets of this node. Needs root. */
export async function openCapture(options: CaptureOptions): Promise<Capture> {
  const { view, selection } = options;
  const points = planPoints(view, selection);
  const decode = tunnelPorts(view.networks.flatMap(transportsOf));
  const { located, close } = await locate(view, points, options.host);
  const sources: CaptureSource[] = [];
  try {
    const groups = await groupsOf(located, options);
    if (groups.length > mostSources)
      throw new WeftError({
        code: "invalid-argument",
        attempted: "capture",
        reason: `that is in ${groups.length} namespaces; allowed: ${mostSources} at once`,
        hint: "capture one endpoint, or at other points, by --at",
      });
    const room = Math.min(roomOfOne.most, Math.max(roomOfOne.least, Math.floor(roomOfAll / groups.length)));
    for (const group of groups)
      sources.push(
        new LocalSource({ ...group, ...{ snapLength: options.snapLength, room, decode, onNote: options.onNote } }),
      );
  } catch (error) {
    for (const source of sources) source.close();
    close();
    throw error;
  }
  return {
    places: located.flatMap(({ places }) => [...places.values()]),
    decode,
    sources,
    packets: (signal) =>
      mergeByTime(
        sources.map((source) => source.packets(signal)),
        lag,
        systemClock,
      ),
    close() {
      for (const source of sources) source.close();
      close();
    },
  };
}

interface Group extends Pick<Located, "namespace"> {
  readonly places: Map<number, Place>;
  readonly link: Link;
  readonly filter: Filter;
  readonly inner?: Readonly<Record<Link, Filter>>;
}

/** Places of one namespace that the same is wanted of share a socket. */
async function groupsOf(located: readonly Located[], options: CaptureOptions): Promise<readonly Group[]> {
  const compiled = new Map<string, Promise<Filter>>();
  const compile = (text: string, link: Link): Promise<Filter> => {
    const key = `${link} ${text}`;
    const filter = compiled.get(key) ?? (link === "ip" ? compileForIp(text) : compileFilter(text, link));
    compiled.set(key, filter);
    return filter;
  };
  // What is wrong with a filter is told of that one, not of what is made of it together with others.
  for (const text of [options.filter, options.inner]) await compile(text, "ethernet");
  const groups = new Map<string, Group>();
  for (const { namespace, point, places } of located)
    for (const [index, place] of places) {
      const { link } = place;
      const within = (of: Link): string => allOf(point.within(of), options.inner);
      const text = point.isTunnelled
        ? allOf(point.filter, options.filter)
        : allOf(point.filter, options.filter, within(link));
      const looksInside = point.isTunnelled && (within("ethernet") !== "" || within("ip") !== "");
      const key = [namespace.inode, link, text, looksInside ? within("ethernet") : ""].join("\n");
      const group = groups.get(key);
      if (group !== undefined) {
        group.places.set(index, place);
        continue;
      }
      const filter = await compile(text, link);
      if (!looksInside) {
        groups.set(key, { namespace, link, filter, places: new Map([[index, place]]) });
        continue;
      }
      const inner = {
        ethernet: await compile(within("ethernet"), "ethernet"),
        ip: await compile(within("ip"), "ip"),
      };
      refuseDirection(inner.ethernet, options.inner);
      groups.set(key, { namespace, link, filter, inner, places: new Map([[index, place]]) });
    }
  refuseImpossible([...groups.values()], options);
  return [...groups.values()];
}

/** What is right for Ethernet may ask for what only Ethernet has: then no packet without it is meant. */
async function compileForIp(text: string): Promise<Filter> {
  try {
    return await compileFilter(text, "ip");
  } catch (error) {
    if (!(error instanceof WeftError) || error.code !== "invalid-argument") throw error;
    return compileFilter(nothing, "ip");
  }
}

/** Of packets without Ethernet. */
const nothing = "arp";

function refuseDirection(filter: Filter, text: string): void {
  if (!asksDirection(filter)) return;
  throw new WeftError({
    code: "invalid-argument",
    attempted: `read the filter "${text}"`,
    reason: "a packet in a tunnel goes no way of its own: inbound and outbound are of the packet around it",
    hint: "ask for them outside of --inner",
  });
}

function refuseImpossible(groups: readonly Group[], { filter, inner }: CaptureOptions): void {
  const isImpossible = (group: Group): boolean =>
    group.filter.isImpossible || (group.inner?.ethernet.isImpossible === true && group.inner.ip.isImpossible);
  if (!groups.every(isImpossible)) return;
  throw new WeftError({
    code: "invalid-argument",
    attempted: `capture what is "${allOf(filter, inner)}"`,
    reason: "no packet there can be so",
    hint: "the filter and --inner must both hold, and hold of packets of these interfaces",
  });
}
