import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Ipv6Address, ip } from "../../base/ip.ts";
import type { Dhcpv6Message, Dhcpv6Option } from "../../wire/index.ts";
import { answerDhcpv6 } from "./dhcpv6.ts";
import { exampleConfiguration } from "./example.test.ts";

const configuration = exampleConfiguration();
const own = "fd00::2";
const client: Dhcpv6Option = { type: "client-identifier", identifier: Uint8Array.of(0, 4, 9) };
const server: Dhcpv6Option = {
  type: "server-identifier",
  identifier: Uint8Array.of(0, 3, 0, 1, 0x02, 0x57, 0, 0, 0, 0x64),
};
const other: Dhcpv6Option = { type: "server-identifier", identifier: Uint8Array.of(0, 3, 0, 1) };
const rapid: Dhcpv6Option = { type: "rapid-commit" };

function addresses(identifier: number, ...list: readonly string[]): Dhcpv6Option {
  const options = list.map((address) => ({
    ...{ type: "address", preferredLifetime: 0, validLifetime: 0, options: [] },
    address: ip(address) as Ipv6Address,
  }));
  return { type: "addresses", identifier, t1: 0, t2: 0, options: options as never };
}
const prefixes: Dhcpv6Option = { type: "prefixes", identifier: 5, t1: 0, t2: 0, options: [] };

function answer(type: Dhcpv6Message["type"], options: readonly Dhcpv6Option[]): ReturnType<typeof answerDhcpv6> {
  return answerDhcpv6({ type, transaction: 7, options }, configuration);
}

/** In a few words. */
function outcome(type: Dhcpv6Message["type"], options: readonly Dhcpv6Option[]): string {
  const { reply, declined } = answer(type, options);
  if (reply === undefined) return "nothing";
  const words = reply.options.flatMap((option): string[] => {
    if (option.type === "rapid-commit") return ["rapid"];
    if (option.type === "status-code") return [`${option.status}`];
    if (option.type !== "addresses" && option.type !== "prefixes") return [];
    const inside = option.options.map((each) => {
      if (each.type === "address") return `${each.address}${each.validLifetime === 0 ? " ends" : ""}`;
      return each.type === "status-code" ? `${each.status}` : "?";
    });
    return [`${option.identifier}: ${inside.join(", ")}`];
  });
  return [reply.type, ...words, ...(declined ? ["declined"] : [])].join("; ");
}

describe("a DHCPv6 client", () => {
  const stray = "fd00::9";
  const cases: [what: string, type: Dhcpv6Message["type"], options: readonly Dhcpv6Option[], outcome: string][] = [
    ["looks for a server", "solicit", [client, addresses(1)], `advertise; 1: ${own}`],
    ["is in a hurry", "solicit", [client, rapid, addresses(1)], `reply; rapid; 1: ${own}`],
    ["wants two", "solicit", [client, addresses(1), addresses(2)], `advertise; 1: ${own}; 2: no-addresses-available`],
    ["wants prefixes", "solicit", [client, addresses(1), prefixes], `advertise; 1: ${own}; 5: no-prefix-available`],
    ["has no identifier", "solicit", [addresses(1)], "nothing"],
    ["looks for one that it names", "solicit", [client, server, addresses(1)], "nothing"],
    ["takes what it was offered", "request", [client, server, addresses(1, own)], `reply; 1: ${own}`],
    ["asks for another", "request", [client, server, addresses(1, stray)], `reply; 1: ${own}`],
    ["asks for one from elsewhere", "request", [client, server, addresses(1, "fd99::1")], "reply; 1: not-on-link"],
    ["takes another's offer", "request", [client, other, addresses(1, own)], "nothing"],
    ["names no server", "request", [client, addresses(1, own)], "nothing"],
    ["renews", "renew", [client, server, addresses(1, own)], `reply; 1: ${own}`],
    ["renews another's, too", "renew", [client, server, addresses(1, own, stray)], `reply; 1: ${own}, ${stray} ends`],
    ["renews at another server", "renew", [client, other, addresses(1, own)], "nothing"],
    ["finds no server again", "rebind", [client, addresses(1, own)], `reply; 1: ${own}`],
    ["binds in two", "rebind", [client, addresses(1, own), addresses(2, stray)], `reply; 1: ${own}; 2: ${stray} ends`],
    ["comes back with its address", "confirm", [client, addresses(1, own)], "reply; success"],
    ["comes back with another", "confirm", [client, addresses(1, own, stray)], "reply; not-on-link"],
    ["comes back with none", "confirm", [client, addresses(1)], "nothing"],
    ["releases", "release", [client, server, addresses(1, own)], "reply; success"],
    ["declines", "decline", [client, server, addresses(1, own)], "reply; success; declined"],
    ["declines what it was not given", "decline", [client, server, addresses(1, stray)], "reply; success"],
    ["asks for the rest", "information-request", [], "reply"],
    ["asks another for the rest", "information-request", [other], "nothing"],
    ["asks for the rest and addresses", "information-request", [client, addresses(1)], "nothing"],
    ["speaks as a server", "advertise", [client, server], "nothing"],
    ["speaks of what nobody knows", { unknown: 99 }, [client], "nothing"],
  ];
  for (const [what, type, options, wanted] of cases)
    it(`that ${what}: ${wanted}`, () => assert.equal(outcome(type, options), wanted));

  it("is told all that there is, and its lifetimes", () => {
    const { reply } = answer("request", [client, server, addresses(1)]);
    assert.deepEqual(reply?.options, [
      server,
      client,
      {
        ...{ type: "addresses", identifier: 1, t1: 500, t2: 800 },
        options: [{ type: "address", address: own, preferredLifetime: 1000, validLifetime: 1000, options: [] }],
      },
      { type: "dns-servers", addresses: ["fd00::53"] },
      { type: "domain-search", domains: ["lab.example"] },
      { type: "ntp-servers", servers: [{ type: "address", address: "fd00::123" }] },
    ]);
  });

  it("of an endpoint without IPv6 hears nothing", () => {
    const { ipv6: _, ...without } = configuration;
    assert.deepEqual(answerDhcpv6({ type: "information-request", transaction: 1, options: [] }, without), {});
  });
});
