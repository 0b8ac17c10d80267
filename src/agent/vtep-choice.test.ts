import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { cidr } from "../base/cidr.ts";
import { ip } from "../base/ip.ts";
import type { InterfaceAddressEntry, Link, Route } from "../netlink/index.ts";
import { chooseDefault } from "./default-vtep.ts";
import { chooseVteps } from "./vtep-choice.ts";

const links: readonly Link[] = [
  { index: 1, name: "lo", mtu: 65_536, up: true, carrier: true, loopback: true, group: 0, info: {} },
  { index: 2, name: "eth0", mtu: 1500, up: true, carrier: true, group: 0, info: {} },
  { index: 3, name: "red", mtu: 65_575, up: true, carrier: true, group: 0, info: { kind: "vrf" } },
  { index: 4, name: "eth1", mtu: 1500, up: true, carrier: true, group: 0, master: 3, info: {} },
];

function on(
  index: number,
  address: string,
  state: Partial<Omit<InterfaceAddressEntry, "index" | "address">> = {},
): InterfaceAddressEntry {
  return { index, address: ip(address), prefixLength: address.includes(":") ? 64 : 24, scope: 0, ...state };
}

const eth0 = { kind: "interface", name: "eth0" } as const;
const within = { kind: "prefix", prefix: cidr("2001:db8::/64") } as const;
const named = (address: string) => ({ kind: "address", address: ip(address) }) as const;

describe("the choice of VTEP addresses", () => {
  const several = [
    on(2, "2001:db8::1", { temporary: true }),
    on(2, "2001:db8::2", { deprecated: true }),
    on(2, "2001:db8::3", { tentative: true }),
    on(2, "2001:db8::4", { tentative: true, duplicate: true }),
    on(2, "2001:db8::5"),
  ];
  const pick = (...parameters: Parameters<typeof chooseVteps>) => {
    const { chosen, isAwaited } = chooseVteps(...parameters);
    return { addresses: chosen.map(({ address }) => address), isAwaited };
  };

  for (const selector of [eth0, within])
    it(`takes the address that is stable and preferred, by ${selector.kind}`, () =>
      assert.deepEqual(pick([selector], several, links, []), { addresses: ["2001:db8::5"], isAwaited: false }));

  it("keeps the address that it has, whatever became of it", () => {
    for (const before of ["2001:db8::1", "2001:db8::2", "2001:db8::3"])
      assert.deepEqual(pick([eth0], several, links, [ip(before)]).addresses, [before]);
  });

  it("does not keep an address that another host has", () =>
    assert.deepEqual(pick([eth0], several, links, [ip("2001:db8::4")]).addresses, ["2001:db8::5"]));

  it("takes what was given itself, and says what speaks against it", () => {
    const { chosen } = chooseVteps([named("2001:db8::2")], several, links, []);
    assert.equal(chosen[0]?.remark, "2001:db8::2 is deprecated: its preferred lifetime is over");
  });

  it("waits for duplicate address detection of a family that has no other", () =>
    assert.deepEqual(pick([eth0], [on(2, "192.0.2.1"), ...several.slice(2, 3)], links, []), {
      addresses: ["192.0.2.1"],
      isAwaited: true,
    }));

  it("names each address that it passed over, and why", () =>
    assert.throws(() => chooseVteps([eth0], several.slice(0, 2), links, []), {
      code: "failed-precondition",
      reason:
        "2001:db8::1 on eth0 is temporary (RFC 8981); 2001:db8::2 on eth0 is deprecated: its preferred lifetime is over",
    }));

  it("can be tried again while an address is tentative", () =>
    assert.throws(() => chooseVteps([named("2001:db8::3")], several, links, []), { code: "unavailable" }));

  for (const [address, reason] of [
    ["127.0.0.1", /a loopback address/],
    ["::1", /the loopback address/],
    ["fe80::1", /a link-local address/],
  ] as const)
    it(`refuses ${address}`, () =>
      assert.throws(() => chooseVteps([named(address)], [on(1, address)], links, []), { reason }));

  it("takes an address of a loopback interface that others reach", () =>
    assert.deepEqual(pick([named("198.51.100.1")], [on(1, "198.51.100.1")], links, []).addresses, ["198.51.100.1"]));

  it("refuses an interface inside a VRF, also where it was chosen before", () =>
    assert.throws(() => chooseVteps([named("192.0.2.1")], [on(4, "192.0.2.1")], links, [ip("192.0.2.1")]), {
      reason: "192.0.2.1 on eth1 is inside VRF red, where tunnels do not send and hear nothing",
      hint: /an interface outside of VRFs/,
    }));
});

describe("the VTEP address of a node that was told none", () => {
  const present = [
    on(1, "127.0.0.1", { scope: 254 }),
    on(2, "192.0.2.1"),
    on(2, "2001:db8::1", { temporary: true }),
    on(2, "2001:db8::5"),
  ];
  const byDefault: Route = {
    destination: cidr("0.0.0.0/0"),
    table: 254,
    protocol: 3,
    type: 1,
    nexthops: [{ index: 2 }],
  };

  it("is what it uses towards the server", () =>
    assert.equal(chooseDefault("192.0.2.9", ip("192.0.2.1"), present, []), "192.0.2.1"));

  it("is the stable address beside a temporary one", () =>
    assert.equal(chooseDefault("2001:db8::9", ip("2001:db8::1"), present, []), "2001:db8::5"));

  it("is that of the default route's interface beside the server", () =>
    assert.equal(chooseDefault("127.0.0.1", ip("127.0.0.1"), present, [byDefault]), "192.0.2.1"));

  it("is nobody's guess without a default route: the addresses to choose from are named", () =>
    assert.throws(() => chooseDefault("127.0.0.1", ip("127.0.0.1"), present, []), {
      code: "failed-precondition",
      hint: "give one by --underlay; this host has 192.0.2.1, 2001:db8::5",
    }));
});
