import assert from "node:assert/strict";
import { test } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import { describeParty, findParties, type TraceDirectory } from "./parties.ts";

const networks = [
  { name: "web", tenant: "blue", subnets: [cidr("10.1.0.0/24"), cidr("fd01::/64")] },
  { name: "db", tenant: "blue", subnets: [cidr("10.2.0.0/24")] },
  { name: "other", tenant: "red", subnets: [cidr("10.1.0.0/24")] },
  { name: "pods", tenant: "green", subnets: [cidr("10.8.0.0/16")] },
];
const directory: TraceDirectory = {
  endpoints: () => [
    {
      ...{ id: "aaaaaaaaaaaa", network: "web", node: "h1", mac: mac("02:00:00:00:00:01"), name: "c1" },
      ips: [ip("10.1.0.1"), ip("fd01::1")],
    },
    {
      id: "bbbbbbbbbbbb",
      network: "web",
      node: "h2",
      mac: mac("02:00:00:00:00:02"),
      ips: [ip("10.1.0.2"), ip("fd01::2")],
    },
    { id: "cccccccccccc", network: "db", node: "h2", mac: mac("02:00:00:00:00:03"), ips: [ip("10.2.0.1")] },
    { id: "dddddddddddd", network: "other", node: "h3", mac: mac("02:00:00:00:00:04"), ips: [ip("10.1.0.2")] },
  ],
  networks: () => networks,
  nodeOfBlock: (network, address) => (network === "pods" && address.startsWith("10.8.0.") ? "h4" : undefined),
  nodeWith: () => undefined,
};

const found = [
  [
    "c1",
    "10.1.0.2",
    "endpoint aaaaaaaaaaaa of network web on node h1",
    "endpoint bbbbbbbbbbbb of network web on node h2",
  ],
  [
    "aaaaaaaaaaaa",
    "02:00:00:00:00:03",
    "endpoint aaaaaaaaaaaa of network web on node h1",
    "endpoint cccccccccccc of network db on node h2",
  ],
  [
    "fd01::2",
    "c1",
    "endpoint bbbbbbbbbbbb of network web on node h2",
    "endpoint aaaaaaaaaaaa of network web on node h1",
  ],
  ["dddddddddddd", "10.1.0.1", "endpoint dddddddddddd of network other on node h3", "10.1.0.1 of network other"],
  ["web/10.1.0.1", "198.51.100.7", "endpoint aaaaaaaaaaaa of network web on node h1", "198.51.100.7, outside"],
  ["10.8.0.5", "198.51.100.7", "10.8.0.5 of network pods on node h4", "198.51.100.7, outside"],
] as const;

for (const [from, to, one, other] of found)
  test(`${from} and ${to}`, () => {
    const parties = findParties(directory, from, to);
    assert.deepEqual([describeParty(parties.from), describeParty(parties.to)], [one, other]);
  });

const refused = [
  ["198.51.100.7", "198.51.100.8", /neither is in a network/],
  [
    "198.51.100.7",
    "10.1.0.2",
    /"10\.1\.0\.2" is endpoint bbbbbbbbbbbb of network web on node h2, and endpoint dddddddddddd/,
  ],
  ["cccccccccccc", "fd01::1", /no addresses of one IP family/],
  ["c1", "c1", /both are 10\.1\.0\.1/],
  ["eeeeeeeeeeee", "c1", /there is no endpoint eeeeeeeeeeee/],
  ["nowhere/10.1.0.1", "c1", /there is no network nowhere here/],
  ["web/10.9.0.1", "c1", /10\.9\.0\.1 is in no subnet of network web/],
  ["what?", "c1", /from: found "what\?"; allowed/],
] as const;

for (const [from, to, reason] of refused)
  test(`refused: ${from} and ${to}`, () => {
    assert.throws(() => findParties(directory, from, to), reason);
  });
