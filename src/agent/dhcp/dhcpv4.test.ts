import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Ipv4Address, ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import { type Dhcpv4Message, type Dhcpv4Option, dhcpv4, dhcpv4Options } from "../../wire/index.ts";
import { answerDhcpv4, isBroadcast } from "./dhcpv4.ts";
import { exampleConfiguration } from "./example.test.ts";

const v4 = (text: string): Ipv4Address => ip(text) as Ipv4Address;
const configuration = exampleConfiguration();
const own = "10.0.0.2";

function request(options: readonly Dhcpv4Option[], fields: Partial<Dhcpv4Message> = {}): Dhcpv4Message {
  const none = v4("0.0.0.0");
  return {
    ...{ operation: "request", hops: 0, transaction: 7, seconds: 1, broadcast: false },
    ...{ clientAddress: none, yourAddress: none, nextServer: none, relayAgent: none },
    ...{ clientMac: configuration.mac, serverName: "", bootFile: "" },
    options,
    ...fields,
  };
}
const type = (messageType: "discover" | "request" | "inform" | "decline" | "release" | "offer"): Dhcpv4Option => ({
  type: "message-type",
  messageType,
});
const server = (address: string): Dhcpv4Option => ({ type: "server-identifier", address: v4(address) });
const wish = (address: string): Dhcpv4Option => ({ type: "requested-address", address: v4(address) });
const from = (address: string): Partial<Dhcpv4Message> => ({ clientAddress: v4(address) });

function outcome(message: Dhcpv4Message, of = configuration): string {
  const { reply, declined } = answerDhcpv4(message, of);
  if (reply === undefined) return declined ? "declined" : "nothing";
  const said = reply.options.find((option) => option.type === "message-type");
  const how = isBroadcast(reply) ? "to all" : "to it";
  return `${said?.messageType} ${reply.yourAddress} ${how}`;
}

describe("a DHCPv4 client", () => {
  const cases: [what: string, message: Dhcpv4Message, outcome: string][] = [
    ["looks for a server", request([type("discover")]), `offer ${own} to it`],
    ["hears broadcasts alone", request([type("discover")], { broadcast: true }), `offer ${own} to all`],
    ["looks, and remembers an address", request([type("discover"), wish("10.0.0.9")]), `offer ${own} to it`],
    ["takes what it was offered", request([type("request"), server("10.0.0.1"), wish(own)]), `ack ${own} to it`],
    ["takes something else", request([type("request"), server("10.0.0.1"), wish("10.0.0.9")]), "nak 0.0.0.0 to all"],
    ["takes another's offer", request([type("request"), server("10.0.0.7"), wish(own)]), "nothing"],
    ["comes back with its address", request([type("request"), wish(own)]), `ack ${own} to it`],
    ["comes back with another", request([type("request"), wish("10.0.0.9")]), "nak 0.0.0.0 to all"],
    ["renews", request([type("request")], from(own)), `ack ${own} to it`],
    [
      "renews, and hears broadcasts alone",
      request([type("request")], { ...from(own), broadcast: true }),
      `ack ${own} to it`,
    ],
    ["renews another's", request([type("request")], from("10.0.0.9")), "nak 0.0.0.0 to all"],
    ["requests nothing", request([type("request")]), "nothing"],
    ["has an address and asks for the rest", request([type("inform")], from(own)), "ack 0.0.0.0 to it"],
    ["has another's and asks for the rest", request([type("inform")], from("10.0.0.9")), "nothing"],
    ["has none and asks for the rest", request([type("inform")]), "nothing"],
    ["declines", request([type("decline"), server("10.0.0.1"), wish(own)]), "declined"],
    ["declines what it was not given", request([type("decline"), wish("10.0.0.9")]), "nothing"],
    ["releases", request([type("release")], from(own)), "nothing"],
    ["speaks as a server", request([type("offer")]), "nothing"],
    ["speaks BOOTP", request([]), "nothing"],
    ["replies", request([type("discover")], { operation: "reply" }), "nothing"],
    ["speaks for another", request([type("discover")], { clientMac: mac("02:00:00:00:00:99") }), "nothing"],
    ["is behind a relay", request([type("discover")], { relayAgent: v4("10.0.0.3") }), "nothing"],
  ];
  for (const [what, message, wanted] of cases)
    it(`that ${what}: ${wanted}`, () => assert.equal(outcome(message), wanted));

  it("of an endpoint without IPv4 hears nothing", () => {
    const { ipv4: _, ...without } = configuration;
    assert.equal(outcome(request([type("discover")]), without), "nothing");
  });

  it("is told all that there is, its identifier again, and the times of its lease", () => {
    const identity: Dhcpv4Option = { type: "client-identifier", identifier: Uint8Array.of(1, 2, 3) };
    const { reply } = answerDhcpv4(request([type("discover"), identity]), configuration);
    assert.deepEqual(reply?.options, [
      { type: "message-type", messageType: "offer" },
      server("10.0.0.1"),
      identity,
      { type: "lease-time", seconds: 1000 },
      { type: "renewal-time", seconds: 500 },
      { type: "rebinding-time", seconds: 875 },
      { type: "subnet-mask", mask: "255.255.255.0" },
      { type: "routers", addresses: ["10.0.0.1"] },
      { type: "interface-mtu", mtu: 1450 },
      { type: "dns-servers", addresses: ["10.0.0.53"] },
      { type: "host-name", text: "web-1" },
      { type: "domain-name", text: "lab.example" },
      { type: "ntp-servers", addresses: ["10.0.0.123"] },
      { type: "tftp-server-name", text: "10.0.0.69" },
      { type: "boot-file-name", text: "pxe" },
      { type: "end" },
    ]);
    assert.deepEqual([reply.nextServer, reply.bootFile, reply.transaction], ["10.0.0.69", "pxe", 7]);
  });

  it("that asks for the rest alone gets no lease", () => {
    const { reply } = answerDhcpv4(request([type("inform")], from(own)), configuration);
    assert.deepEqual(
      reply?.options.filter((option) => /time$/.test(`${option.type}`)),
      [],
    );
  });

  it("gets no more than it takes, and first what matters", () => {
    const told = { ...configuration.told, domain: `${"x".repeat(60)}.${"y".repeat(59)}`, bootFile: "z".repeat(127) };
    const answer = (size?: number) => {
      const options: Dhcpv4Option[] = size === undefined ? [] : [{ type: "maximum-message-size", octets: size }];
      const { reply } = answerDhcpv4(request([type("discover"), ...options]), { ...configuration, told });
      assert.ok(reply);
      return {
        length: dhcpv4.lengthOf(reply),
        options: dhcpv4Options,
        types: reply.options.map((option) => option.type),
      };
    };
    for (const size of [undefined, 64, 576]) {
      const { length, types } = answer(size);
      assert.ok(length <= 548, `${length} octets`);
      assert.ok(types.includes("routers") && types.includes("domain-name") && !types.includes("boot-file-name"));
      assert.equal(types.at(-1), "end");
    }
    assert.ok(answer(1500).types.includes("boot-file-name"));
  });
});
