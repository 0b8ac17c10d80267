/** What the netlink benchmarks program and read: one network of a tenant with endpoints on other nodes. */
import { type IpAddress, ip } from "../src/base/ip.ts";
import { type MacAddress, mac } from "../src/base/mac.ts";
import {
  type FdbEntry,
  getLink,
  type Neighbour,
  NetlinkSocket,
  neighbourFlag,
  neighbourState,
} from "../src/netlink/index.ts";
import { type TestNamespace, testNamespace } from "../test/support/namespaces.ts";

/** Remote nodes; the endpoints are spread over them. */
const nodes = 64;

export interface RemoteEndpoint {
  readonly mac: MacAddress;
  readonly ip: IpAddress;
  readonly vtep: IpAddress;
  /** The FDB nexthop group that stands for the VTEP. */
  readonly nexthop: number;
}

export function remoteEndpoints(count: number): RemoteEndpoint[] {
  const hex = (value: number): string => (value & 0xff).toString(16).padStart(2, "0");
  return Array.from({ length: count }, (_, index) => ({
    mac: mac(`02:00:5e:${hex(index >> 16)}:${hex(index >> 8)}:${hex(index)}`),
    ip: ip(`10.${index >> 16}.${(index >> 8) & 0xff}.${index & 0xff}`),
    vtep: vtepOf(index % nodes),
    nexthop: groupOf(index % nodes),
  }));
}

function vtepOf(node: number): IpAddress {
  return ip(`192.0.2.${node + 2}`);
}

function groupOf(node: number): number {
  return 2000 + node;
}

export type Destination = "vtep" | "nexthop";

export interface Scene {
  readonly underlay: TestNamespace;
  /** Holds the bridge `br100` and its port, the tunnel `vx100`. */
  readonly tenant: TestNamespace;
  readonly bridge: number;
  readonly tunnel: number;
  [Symbol.dispose](): void;
}

/** Fresh namespaces with an empty network, and a nexthop group for each node. */
export async function networkScene(): Promise<Scene> {
  const underlay = testNamespace("underlay");
  const tenant = testNamespace("tenant");
  underlay.shell(`
    ip link set lo up
    ip address add 192.0.2.1/24 dev lo
    ip link add vx100 netns ${tenant.name} type vxlan id 100 dstport 4789 local 192.0.2.1 nolearning
  `);
  for (let node = 0; node < nodes; node++)
    underlay.shell(`
      ip nexthop add id ${1000 + node} via ${vtepOf(node)} fdb
      ip nexthop add id ${groupOf(node)} group ${1000 + node} fdb
    `);
  tenant.shell(`
    ip link add br100 type bridge
    ip link set vx100 master br100 up
    ip link set br100 up
  `);
  using socket = new NetlinkSocket({ namespace: tenant.namespace });
  const [bridge, tunnel] = [await socket.get(getLink({ name: "br100" })), await socket.get(getLink({ name: "vx100" }))];
  return {
    underlay,
    tenant,
    bridge: bridge.index,
    tunnel: tunnel.index,
    [Symbol.dispose]() {
      tenant[Symbol.dispose]();
      underlay[Symbol.dispose]();
    },
  };
}

export function fdbEntryOf(endpoint: RemoteEndpoint, scene: Scene, destination: Destination): FdbEntry {
  return {
    index: scene.tunnel,
    mac: endpoint.mac,
    state: neighbourState.permanent,
    flags: neighbourFlag.self | neighbourFlag.master | neighbourFlag.externallyLearned,
    ...(destination === "vtep" ? { vtep: endpoint.vtep } : { nexthop: endpoint.nexthop }),
  };
}

export function neighbourOf(endpoint: RemoteEndpoint, scene: Scene): Neighbour {
  return {
    index: scene.bridge,
    ip: endpoint.ip,
    mac: endpoint.mac,
    state: neighbourState.permanent,
    flags: 0,
  };
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

/** Rows of text as columns, the first row being the heading. */
/** The 50th, 90th and 99th percentile and the largest. */
export function quantiles(values: readonly number[]): number[] {
  const sorted = values.toSorted((a, b) => a - b);
  return [0.5, 0.9, 0.99, 1].map(
    (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN,
  );
}

export function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
        .join("  "),
    )
    .join("\n");
}
