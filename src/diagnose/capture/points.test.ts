import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { unwrap } from "../../base/result.ts";
import { readPcap } from "../../wire/index.ts";
import { compileFilter, passes } from "./filter.ts";
import { planPoints, type Selection } from "./points.ts";
import { carriedText, ofAddresses, transportsOf, tunnelText, wayOf } from "./texts.ts";
import type { NetworkView, NodeView } from "./view.ts";

const web: NetworkView = {
  ...{ name: "web", tenant: "blue", vni: 4096, namespace: "weft-blue", bridge: "br4096" },
  ...{ encapsulation: "vxlan", port: 4789, standby: [], subnets: ["10.1.0.0/24"] },
};
const routed: NetworkView = { ...web, name: "routed", vni: 800, bridge: "br800", encapsulation: "direct", port: 0 };

const endpoint = (id: string, network: string, mac: string, ips: string[], netns = `/run/netns/${id}`) => ({
  ...{ endpoint: { id, network, mac, ips }, netns, interface: "eth0", port: `ve${id}` },
});

const view: NodeView = {
  node: "h1",
  vteps: ["192.0.2.1", "2001:db8::1"],
  networks: [web, routed],
  endpoints: [
    endpoint("aaaaaaaaaaaa", "web", "02:00:00:00:00:0a", ["10.1.0.1", "fd00::1"], "/run/netns/red"),
    endpoint("bbbbbbbbbbbb", "web", "02:00:00:00:00:0b", ["10.1.0.2"], ""),
    endpoint("cccccccccccc", "routed", "02:00:00:00:00:0c", ["10.1.0.1"], "/proc/7/ns/net"),
  ],
};

/** One line for each point: kind, where, interfaces, filter, and what the tenant's packet must be like. */
function planned(selection: Selection): string[] {
  return planPoints(view, selection).map(({ kind, where, interfaces, filter, within, isTunnelled, endpoint }) => {
    const place = where === "host" ? where : "tenant" in where ? where.tenant : where.path;
    const names =
      typeof interfaces === "string"
        ? interfaces
        : ["vx4096", "vx4096p2118", "vx4097", "br4096"].filter(interfaces).join("+");
    return [
      kind,
      place,
      names,
      endpoint ?? "-",
      isTunnelled ? "in tunnels" : "as it is",
      filter,
      within("ethernet"),
      within("ip"),
    ].join(" | ");
  });
}

const vni = "(ip[((ip[0] & 0xf) << 2) + 12 : 4] & 0xffffff00 = 0x100000) or (ip6[52 : 4] & 0xffffff00 = 0x100000)";
const carried = `(udp dst port 4789) and (${vni})`;
const ofA = "(ether host 02:00:00:00:00:0a) or (host 10.1.0.1) or (host fd00::1)";
const ofAInIp = "(host 10.1.0.1) or (host fd00::1)";

const plans: readonly (readonly [selection: Selection, ...points: string[]])[] = [
  [
    { network: "web" },
    "port | weft-blue | veaaaaaaaaaaaa | aaaaaaaaaaaa | as it is |  |  | ",
    "port | weft-blue | vebbbbbbbbbbbb | bbbbbbbbbbbb | as it is |  |  | ",
    "tunnel | weft-blue | vx4096+vx4096p2118 | - | as it is |  |  | ",
  ],
  [
    { network: "web", at: ["container", "bridge", "underlay"] },
    "container | /run/netns/red | eth0 | aaaaaaaaaaaa | as it is |  |  | ",
    "bridge | weft-blue | br4096 | - | as it is |  |  | ",
    `underlay | host | underlay | - | in tunnels | ${carried} |  | `,
  ],
  [{ endpoint: "fd00::1" }, "port | weft-blue | veaaaaaaaaaaaa | aaaaaaaaaaaa | as it is |  |  | "],
  [
    { endpoint: "red", at: ["container", "tunnel", "underlay"] },
    "container | /run/netns/red | eth0 | aaaaaaaaaaaa | as it is |  |  | ",
    `tunnel | weft-blue | vx4096+vx4096p2118 | - | as it is |  | ${ofA} | ${ofAInIp}`,
    `underlay | host | underlay | - | in tunnels | ${carried} | ${ofA} | ${ofAInIp}`,
  ],
  [{ endpoint: "02:00:00:00:00:0C" }, "port | weft-blue | vecccccccccccc | cccccccccccc | as it is |  |  | "],
  [{ endpoint: "/proc/7/ns/net" }, "port | weft-blue | vecccccccccccc | cccccccccccc | as it is |  |  | "],
  [{ endpoint: "10.1.0.1", network: "routed" }, "port | weft-blue | vecccccccccccc | cccccccccccc | as it is |  |  | "],
  [{ network: "routed", at: ["underlay"] }, "underlay | host | underlay | - | as it is | net 10.1.0.0/24 |  | "],
  [
    { network: "web", vteps: ["192.0.2.2" as never] },
    `underlay | host | underlay | - | in tunnels | (host 192.0.2.2) and (${carried}) |  | `,
  ],
];

const refusals: readonly (readonly [selection: Selection, code: string, message: RegExp])[] = [
  [{ network: "db" }, "not-found", /node h1 does not host it; it hosts web, routed$/],
  [{ endpoint: "10.1.0.9" }, "not-found", /not on node h1; there are aaaaaaaaaaaa \(web 10\.1\.0\.1 fd00::1\), bbbb/],
  [{ endpoint: "red", network: "routed" }, "not-found", /not on node h1, in network routed; there are cccccccccccc /],
  [{ endpoint: "10.1.0.1" }, "invalid-argument", /several are meant: aaaaaaaaaaaa .*cccccccccccc/],
  [{ endpoint: "" }, "not-found", /not on node h1/],
  [{ endpoint: "bbbbbbbbbbbb", at: ["container"] }, "failed-precondition", /none is attached in a namespace/],
  [{ network: "routed", at: ["tunnel"] }, "failed-precondition", /it has none: its packets are routed as they are/],
  [{ at: ["port"] }, "invalid-argument", /captured at the underlay, not at "port"/],
  [{ network: "web", vteps: ["192.0.2.2" as never], at: ["tunnel"] }, "invalid-argument", /not at "tunnel"/],
  [{ vteps: ["192.0.2.2" as never, "192.0.2.3" as never] }, "not-found", /neither is a VTEP address of node h1/],
  [{ vteps: ["192.0.2.1" as never, "2001:db8::2" as never] }, "invalid-argument", /one is of IPv4, the other of IPv6/],
];

describe("points of a node", () => {
  for (const [selection, ...points] of plans)
    test(JSON.stringify(selection), () => assert.deepEqual(planned(selection), points));

  for (const [selection, code, message] of refusals)
    test(`refused: ${JSON.stringify(selection)}`, () =>
      assert.throws(() => planPoints(view, selection), { code, message }));

  test("whatever is planned, tcpdump reads it, for Ethernet and without", async () => {
    for (const [selection] of [...plans, [{}], [{ vteps: ["192.0.2.2" as never, "192.0.2.1" as never] }]] as const)
      for (const { filter, within } of planPoints(view, selection)) {
        assert.equal((await compileFilter(filter, "ethernet")).isImpossible, false);
        assert.equal((await compileFilter(within("ethernet"), "ethernet")).isImpossible, false);
        assert.equal((await compileFilter(within("ip"), "ip")).isImpossible, false);
      }
  });
});

function golden(name: string): readonly Uint8Array[] {
  const path = join(import.meta.dirname, "../../../test/golden", `${name}.pcap`);
  return unwrap(readPcap(new Uint8Array(readFileSync(path)))).packets.map(({ bytes }) => bytes);
}

/** Captures of tunnels, as networks would be that send so; a key that packets have, or none. */
const tunnels = [
  ["vxlan-ipv4", "vxlan", 4789, 100],
  ["vxlan-ipv6", "vxlan", 4789, 11_259_375],
  ["geneve", "geneve", 6081, 100],
  ["geneve-ipv6", "geneve", 6081, 11_259_375],
  ["nvgre", "nvgre", 0, 0x123456],
  ["gre-ipv6", "gre", 0, undefined],
  ["ipip", "ipip", 0, undefined],
  ["4in6", "ipip", 0, undefined],
] as const;

describe("filters for what weft sends", () => {
  for (const [name, encapsulation, port, key] of tunnels)
    test(`${name}: the packets of the network, and of no other`, async () => {
      const frames = golden(name);
      const network = { ...web, encapsulation, port };
      const count = async (text: string): Promise<number> => {
        const filter = await compileFilter(text, "ethernet");
        return frames.filter((bytes) => passes(filter, bytes)).length;
      };
      assert.equal(await count(tunnelText([])), frames.length);
      if (key === undefined) return;
      assert.equal(await count(carriedText({ ...network, vni: key })), frames.length);
      assert.equal(await count(carriedText({ ...network, vni: key - 1 })), 0);
      if (port > 0) assert.equal(await count(carriedText({ ...network, vni: key, port: port + 1 })), 0);
    });

  test("while a network changes, both ways count", () => {
    const changing = { ...web, standby: ["geneve:6081 or direct", "direct"] };
    assert.deepEqual(transportsOf(changing), [
      { encapsulation: "vxlan", port: 4789 },
      { encapsulation: "geneve", port: 6081 },
    ]);
    assert.deepEqual(wayOf("gre"), { encapsulation: "gre", port: 0 });
    for (const text of ["direct", "", "carrier-pigeon:1149"]) assert.equal(wayOf(text), undefined);
  });

  test("an endpoint's packets", () => {
    assert.equal(ofAddresses({ mac: "02:00:00:00:00:0b", ips: [] }, "ethernet"), "ether host 02:00:00:00:00:0b");
    assert.equal(ofAddresses({ mac: "02:00:00:00:00:0b", ips: ["10.1.0.2"] }, "ip"), "host 10.1.0.2");
  });
});
