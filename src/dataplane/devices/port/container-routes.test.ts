import assert from "node:assert/strict";
import { it } from "node:test";
import { cidr } from "../../../base/cidr.ts";
import { ip } from "../../../base/ip.ts";
import { mac } from "../../../base/mac.ts";
import type { Route } from "../../../netlink/index.ts";
import { networkSettings, placeIn } from "../../../testing/desired.ts";
import type { LocalEndpoint } from "../../desired.ts";
import { planContainerRoutes } from "./container-routes.ts";

const own = 5;
const endpoint: LocalEndpoint = {
  id: "e1",
  mac: mac("02:00:00:00:00:01"),
  addresses: [
    { address: ip("10.8.0.2"), prefixLength: 26 },
    { address: ip("fd08::2"), prefixLength: 122 },
  ],
  place: placeIn("/run/netns/c"),
  gateways: [ip("10.8.0.1"), ip("fd08::1")],
};
const subnets = [cidr("10.8.0.0/16"), cidr("fd08::/64")];
const inside = networkSettings({ mode: "l3", subnets });
const outside = { ...inside, egress: true };

/** A route of the main table: `DESTINATION [via GATEWAY] dev INDEX [metric METRIC] [proto PROTOCOL] [mtu OCTETS]`, as `ip` writes it. */
function route(text: string): Route {
  const words = text.split(" ");
  const after = (word: string): string | undefined =>
    words.includes(word) ? words[words.indexOf(word) + 1] : undefined;
  const [gateway, metric, mtu] = [after("via"), after("metric"), after("mtu")];
  return {
    destination: cidr(words[0] as string),
    table: 254,
    protocol: Number(after("proto") ?? 119),
    nexthops: [{ ...(gateway === undefined ? {} : { gateway: ip(gateway) }), index: Number(after("dev")) }],
    ...(metric === undefined ? {} : { priority: Number(metric) }),
    ...(mtu === undefined ? {} : { mtu: Number(mtu) }),
  };
}

function text({ destination, nexthops: [hop], priority, protocol, mtu }: Route): string {
  const gateway = hop?.gateway === undefined ? "" : ` via ${hop.gateway}`;
  const metric = priority === undefined ? "" : ` metric ${priority}`;
  const by = protocol === 119 ? "" : ` proto ${protocol}`;
  return `${destination}${gateway} dev ${hop?.index}${metric}${by}${mtu === undefined ? "" : ` mtu ${mtu}`}`;
}

const toSubnets = ["10.8.0.0/16 via 10.8.0.1 dev 5", "fd08::/64 via fd08::1 dev 5 metric 1024"];
const out = ["0.0.0.0/0 via 10.8.0.1 dev 5 metric 100003", "::/0 via fd08::1 dev 5 metric 100003"];
const within = ["0.0.0.0/0 via 10.8.0.1 dev 5 metric 200003", "::/0 via fd08::1 dev 5 metric 200003"];
const unmetered = ["0.0.0.0/0 via 10.8.0.1 dev 5", "::/0 via fd08::1 dev 5 metric 1024"];
const foreign = ["0.0.0.0/0 via 10.9.0.1 dev 6", "::/0 via fd09::1 dev 6 metric 1024 proto 9"];
const siblings = ["0.0.0.0/0 via 10.9.0.1 dev 6 metric 100001", "::/0 via fd09::1 dev 6 metric 100001"];
const asNew = ["10.8.0.0/16 via 10.8.0.1 dev 5", "fd08::/64 via fd08::1 dev 5"];

const bound = { ...outside, mtu: 1300, deviceMtu: 1400 };
const halves = ["10.8.0.0/27", "10.8.0.32/27", "fd08::/123", "fd08::20/123"].map((half) => `${half} dev 5 mtu 1300`);

const cases: readonly {
  readonly what: string;
  readonly network?: typeof outside;
  readonly endpoint?: LocalEndpoint;
  readonly present: readonly string[];
  readonly written?: readonly string[];
  readonly removed?: readonly string[];
}[] = [
  { what: "nothing there: all are written", present: [], written: [...asNew, ...out].sort() },
  { what: "all there: nothing is written", present: [...toSubnets, ...out] },
  {
    what: "a default route of another network stands beside",
    present: [...toSubnets, ...siblings],
    written: out,
  },
  { what: "somebody else's stands beside, and wins", present: [...toSubnets, ...foreign], written: out },
  {
    what: "without egress one that leads no further than the tenant comes after all that lead to the world",
    network: inside,
    present: toSubnets,
    written: within,
  },
  {
    what: "egress ended: the other kind takes its place, and then it goes",
    network: inside,
    present: [...toSubnets, ...out],
    written: within,
    removed: out,
  },
  {
    what: "the node answers at its own address, which is on the link of each of several interfaces, with a gateway and without",
    network: { ...inside, answersAtNodeAddress: true },
    endpoint: { ...endpoint, gateways: [] },
    present: ["169.254.169.254/32 dev 6 metric 200001"],
    written: ["169.254.169.254/32 dev 5 metric 200003"],
  },
  {
    what: "it answers there no more",
    present: [...toSubnets, ...out, "169.254.169.254/32 dev 5 metric 200003"],
    removed: ["169.254.169.254/32 dev 5 metric 200003"],
  },
  {
    what: "no gateway any more: all of weft's on this interface go, and no others",
    endpoint: { ...endpoint, gateways: [] },
    present: [...toSubnets, ...out, ...siblings, ...foreign, "192.0.2.0/24 via 10.8.0.9 dev 5 proto 3"],
    removed: [...toSubnets, ...out],
  },
  { what: "one of an earlier version that leads to the world stays", present: [...toSubnets, ...unmetered] },
  {
    what: "one of an earlier version that leads nowhere is replaced",
    network: inside,
    present: [...toSubnets, ...unmetered],
    written: within,
    removed: unmetered,
  },
  {
    what: "one to a gateway that is none any more is replaced in place",
    present: [...toSubnets, "0.0.0.0/0 via 10.8.0.65 dev 5 metric 100003", out[1] as string],
    written: [out[0] as string],
  },
  {
    what: "somebody else's at the very place is left",
    present: [...toSubnets, "0.0.0.0/0 via 10.9.0.1 dev 6 metric 100003 proto 4", out[1] as string],
  },
  {
    what: "somebody else's route to the subnet is left",
    present: ["10.8.0.0/16 via 10.9.0.1 dev 6 proto 4", toSubnets[1] as string, ...out],
  },
  {
    what: "devices let larger packets pass than are to be sent: routes say how large, to what is on the link, too",
    network: bound,
    present: [...toSubnets, ...out],
    written: [...halves, ...[...asNew, ...out].map((line) => `${line} mtu 1300`)],
  },
  {
    what: "a smaller MTU yet: routes are replaced in place",
    network: { ...bound, mtu: 1280 },
    present: halves,
    written: [...halves, ...[...asNew, ...out].map((line) => `${line} mtu 1300`)].map((line) =>
      line.replace("1300", "1280"),
    ),
  },
  {
    what: "what is to be sent passes devices and no more: nothing is said of it any more",
    present: [...halves, ...[...toSubnets, ...out].map((line) => `${line} mtu 1300`)],
    written: [...asNew, ...out],
    removed: halves,
  },
  {
    what: "a single address, and a link of two, where packets are bounded",
    network: bound,
    endpoint: {
      ...endpoint,
      addresses: [
        { address: ip("10.8.0.2"), prefixLength: 31 },
        { address: ip("fd08::2"), prefixLength: 128 },
      ],
      gateways: [],
    },
    present: [],
    written: ["10.8.0.2/32 dev 5 mtu 1300", "10.8.0.3/32 dev 5 mtu 1300"],
  },
  {
    what: "another interface of the container is on the same link: its routes stay, and serve",
    network: bound,
    endpoint: { ...endpoint, addresses: [{ address: ip("10.8.0.3"), prefixLength: 26 }], gateways: [] },
    present: halves.map((line) => line.replace("dev 5", "dev 6")),
  },
  {
    what: "two blocks have one default route",
    endpoint: { ...endpoint, gateways: [ip("10.8.0.1"), ip("10.8.0.65")] },
    present: [],
    written: [asNew[0] as string, "0.0.0.0/0 via 10.8.0.1 dev 5 metric 100003"],
  },
];
for (const { what, network = outside, present, written = [], removed = [], ...rest } of cases)
  it(`routes of a container: ${what}`, () => {
    const plan = planContainerRoutes(rest.endpoint ?? endpoint, 3, network, own, present.map(route));
    const sorted = (lines: readonly string[]): string[] => [...lines].sort();
    assert.deepEqual(sorted(plan.written.map(text)), sorted(written));
    assert.deepEqual(sorted(plan.removed.map(text)), sorted(removed));
  });
