/** The programs of policies on whichever kernel this is: it takes them, and they judge frames as the policies say. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, it } from "node:test";
import { zeroMac } from "../../src/base/mac.ts";
import { unwrap } from "../../src/base/result.ts";
import { NetworkNamespace } from "../../src/linux/index.ts";
import { parsePolicy } from "../../src/model/policy/index.ts";
import { buildFrame, type LayerDraft } from "../../src/wire/index.ts";
import { bare, ipv4, ipv6, type Player } from "../attacks/attacks.ts";
import { players, Stage } from "../attacks/stage.ts";
import { requires } from "../support/kernel.ts";
import { eventually, settled } from "../support/underlay.ts";

const { attacker: sender, near, far } = players;

/** Those who may be told anything are told this. */
const policy = {
  name: "p",
  tenant: "blue",
  isolates: ["ingress"],
  rules: [
    {
      direction: "ingress",
      action: "allow",
      peers: [{ subnet: `${sender.ipv4}/32` }, { subnet: `${sender.ipv6}/128` }],
      ports: [
        { protocol: "udp", ports: [5001] },
        { protocol: "tcp", ports: ["80-89"] },
        { protocol: "icmp", types: [8] },
      ],
    },
    { direction: "ingress", action: "deny", ports: [{ protocol: "tcp", ports: [85] }] },
  ],
};

const link = (to: Player, etherType: "ipv4" | "ipv6" | "arp"): LayerDraft => ({
  protocol: "ethernet",
  header: { destination: to.mac, source: sender.mac, etherType },
});
const udp = (destinationPort: number): LayerDraft => ({
  protocol: "udp",
  header: { sourcePort: 5000, destinationPort },
});
const tcp = (destinationPort: number, sourcePort = 50_000): LayerDraft => ({
  protocol: "tcp",
  header: {
    sourcePort,
    destinationPort,
    sequence: 1,
    acknowledgment: 0,
    cwr: false,
    ece: false,
    urg: false,
    ack: false,
    psh: false,
    rst: false,
    syn: true,
    fin: false,
    window: 1000,
    urgentPointer: 0,
    options: [],
  },
});
const over4 = (to: Player, protocol: "tcp" | "udp" | "icmpv4", more: object = {}): LayerDraft[] => [
  link(to, "ipv4"),
  ipv4(sender.ipv4, to.ipv4, protocol, more),
];
const over6 = (to: Player, protocol: "tcp" | "udp" | "icmpv6"): LayerDraft[] => [
  link(to, "ipv6"),
  ipv6(sender.ipv6, to.ipv6, protocol),
];
const echo = { code: 0, identifier: 1, sequence: 1 };

const frames: readonly [what: string, isAllowed: boolean, of: (to: Player) => Uint8Array][] = [
  ["UDP to the port", true, (to) => buildFrame([...over4(to, "udp"), udp(5001)])],
  ["UDP to another port", false, (to) => buildFrame([...over4(to, "udp"), udp(5002)])],
  ["UDP over IPv6 to the port", true, (to) => buildFrame([...over6(to, "udp"), udp(5001)])],
  ["UDP over IPv6 to another port", false, (to) => buildFrame([...over6(to, "udp"), udp(5002)])],
  ["TCP to a port of the range", true, (to) => buildFrame([...over4(to, "tcp"), tcp(80)])],
  ["TCP over IPv6 to a port of the range", true, (to) => buildFrame([...over6(to, "tcp"), tcp(89)])],
  ["TCP to a port beside the range", false, (to) => buildFrame([...over4(to, "tcp"), tcp(90)])],
  ["TCP to a port that is denied", false, (to) => buildFrame([...over4(to, "tcp"), tcp(85)])],
  [
    "an echo request",
    true,
    (to) => buildFrame([...over4(to, "icmpv4"), { protocol: "icmpv4", header: { type: "echo-request", ...echo } }]),
  ],
  [
    "an echo request over IPv6",
    false,
    (to) => buildFrame([...over6(to, "icmpv6"), { protocol: "icmpv6", header: { type: "echo-request", ...echo } }]),
  ],
  [
    "the first of several fragments to the port",
    true,
    (to) => buildFrame([...over4(to, "udp", { moreFragments: true }), udp(5001)]),
  ],
  ["the fragment behind it", true, (to) => buildFrame(over4(to, "udp", { fragmentOffset: 100 }))],
  [
    "a fragment whose first was not seen",
    false,
    (to) => buildFrame(over4(to, "udp", { fragmentOffset: 100, identification: 8 })),
  ],
  [
    "ARP, which does not leave the node",
    true,
    () =>
      buildFrame([
        link(near, "arp"),
        {
          protocol: "arp",
          header: {
            operation: "reply",
            senderMac: sender.mac,
            senderIp: sender.ipv4,
            targetMac: zeroMac,
            targetIp: near.ipv4,
          },
        },
      ]),
  ],
  ["another protocol than IP", false, (to) => bare(to.mac, sender.mac)],
];

describe("programs of policies", requires("nft-inet"), () => {
  const count = 6;
  let stage: Stage;
  let mark = 0;
  const denied = (): number =>
    [near, far].reduce((sum, { id }, index) => {
      return sum + (stage.dataplanes[index]?.droppedOf("blue-net", id)?.["policy-ingress"] ?? 0);
    }, 0);
  /** Sends frames to the one on this node and to the one on the other; how many came through, when all have or were dropped. */
  const deliveredOf = async (of: (to: Player) => Uint8Array): Promise<number> => {
    const before = denied();
    mark++;
    for (let number = 0; number < count; number++) stage.send(of(number % 2 === 0 ? near : far), mark, number);
    let delivered = 0;
    await eventually("each frame has come through or was dropped", () => {
      delivered += stage.delivered(mark);
      return delivered + denied() - before === count;
    });
    return delivered;
  };

  before(async () => {
    stage = await Stage.make("polprog", {});
    for (const dataplane of stage.dataplanes) {
      dataplane.policies.put(unwrap(parsePolicy(policy)));
      await dataplane.changed();
      await settled(dataplane);
    }
  });
  after(() => stage.close());

  it("are loaded, and at both hooks of a port", () => {
    assert.deepEqual(
      stage.dataplanes.flatMap(({ problems }) => problems.list()),
      [],
    );
    using tenant = NetworkNamespace.openNamed(stage.tenantName(1));
    for (const direction of ["ingress", "egress"]) {
      const script = `tc filter show dev ve${near.id} ${direction}`;
      assert.match(
        tenant.run(() => execFileSync("/bin/sh", ["-ec", script], { encoding: "utf8" })),
        /weft-policy/,
      );
    }
  });

  for (const [what, isAllowed, of] of frames)
    it(`${isAllowed ? "let pass" : "drop"}: ${what}`, async () =>
      assert.equal(await deliveredOf(of), isAllowed ? count : 0));

  it("judge anew when the policy changes, and let all pass when it goes", async () => {
    const [, , allowed] = frames[0] as (typeof frames)[number];
    const { rules: _, ...nothing } = policy;
    for (const { policies } of stage.dataplanes) policies.put(unwrap(parsePolicy(nothing)));
    for (const dataplane of stage.dataplanes) await dataplane.changed();
    assert.equal(await deliveredOf(allowed), 0);
    for (const { policies } of stage.dataplanes) policies.remove("p");
    for (const dataplane of stage.dataplanes) await dataplane.changed();
    assert.equal(await deliveredOf(allowed), count);
  });
});
