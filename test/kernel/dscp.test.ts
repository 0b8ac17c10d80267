/** The DSCP of packets between nodes, as captured on the underlay: one that the network sets, and that of the packet inside. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { unwrap } from "../../src/base/result.ts";
import { startCapture } from "../../src/lab/capture.ts";
import { decodeFrame, readPcap } from "../../src/wire/index.ts";
import {
  createNetworks,
  idle,
  inLab,
  type NetworkWish,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weft,
} from "../support/cluster.ts";
import { type KernelFeature, requires } from "../support/kernel.ts";

const lab = await testLab(theWholeFile(), { hosts: 2 });

type Case = Omit<NetworkWish, "subnets">;
const cases: readonly (readonly [network: Case, needs: readonly KernelFeature[]])[] = [
  [{ name: "vxlan4", encapsulation: "vxlan" }, ["vxlan", "nft-inet", "quick processes"]],
  [{ name: "vxlan6", encapsulation: "vxlan", underlay: "ipv6" }, ["vxlan", "nft-inet", "quick processes"]],
  [{ name: "geneve4", encapsulation: "geneve" }, ["geneve"]],
  [{ name: "geneve6", encapsulation: "geneve", underlay: "ipv6" }, ["geneve"]],
  [{ name: "nvgre4", encapsulation: "nvgre" }, ["gretap"]],
  [{ name: "nvgre6", encapsulation: "nvgre", underlay: "ipv6" }, ["ip6gretap"]],
  [{ name: "gre4", encapsulation: "gre", mode: "l3" }, ["gre"]],
  [{ name: "gre6", encapsulation: "gre", mode: "l3", underlay: "ipv6" }, ["ip6gre"]],
  [{ name: "ipip4", encapsulation: "ipip", mode: "l3" }, ["sit"]],
  [{ name: "ipip6", encapsulation: "ipip", mode: "l3", underlay: "ipv6" }, ["ip6tnl"]],
];
const subnets = ["10.80.0.0/16", "fd00:80::/48"];

/** DSCP 10 and ECT(0), as ping(8) takes them. */
const inner = { dscp: 10, ecn: 2 };
const tos = String((inner.dscp << 2) | inner.ecn);

for (const [wish, needs] of cases)
  test(`${wish.name}: set, kept, and neither`, requires(...needs), async (t) => {
    const { name } = wish;
    const addresses: (readonly string[])[] = [];
    await createNetworks(lab, [{ ...wish, name, subnets, dscp: "46" }]);
    t.after(async () => {
      for (const host of ["h1", "h2"]) {
        await lab.detach(`${name}-${host}`, host, name);
        lab.removeContainer(`${name}-${host}`);
      }
      await lab.admin.delete({ resources: [{ kind: "network", name }] });
    });
    for (const host of ["h1", "h2"]) {
      lab.addContainer(`${name}-${host}`);
      addresses.push((await lab.attach(`${name}-${host}`, host, name)).ips);
    }
    await until(async () => {
      const { networks } = await lab.agent("h1").getStatus({});
      const known = networks.find((each) => each.name === name);
      assert.equal((known?.remoteEndpoints ?? 0) + (known?.remoteBlocks ?? 0) > 0, true, "h1 knows the other");
    });
    await idle(lab, "h1", "h2");
    using host = lab.namespace("h1");
    /** What the outer headers of echo requests to the other say, each once. */
    const outer = async (): Promise<readonly string[]> => {
      const file = join(testDirectory(t), "eth0.pcap");
      const capture = await startCapture(host, "eth0", file, { filter: "not tcp port 7400", direction: "out" });
      for (const address of addresses[1] ?? [])
        await until(async () => void (await inLab(lab, `${name}-h1`, "ping", "-Q", tos, "-c1", "-W1", address)));
      await capture.stop();
      const { packets } = unwrap(readPcap(new Uint8Array(readFileSync(file))));
      const found = packets.flatMap(({ bytes }) => {
        const { layers } = decodeFrame(bytes);
        const isRequest = layers.some(
          ({ protocol, header }) => (protocol === "icmpv4" || protocol === "icmpv6") && header.type === "echo-request",
        );
        const [first] = layers.filter(({ protocol }) => protocol === "ipv4" || protocol === "ipv6");
        if (!isRequest || (first?.protocol !== "ipv4" && first?.protocol !== "ipv6")) return [];
        return [`${first.header.dscp} ECN ${first.header.ecn}`];
      });
      return [...new Set(found)];
    };
    const set = async (dscp: string): Promise<void> => {
      const { status, complaints } = await weft([
        "network",
        "set",
        name,
        "--dscp",
        dscp,
        "--wait",
        "--server",
        lab.serverSocket,
      ]);
      assert.equal(status, 0, complaints);
    };
    // net/ipv6/ip6_gre.c: the class that was set is the whole of it, with the bits of ECN.
    const setEcn = name.endsWith("gre6") ? 0 : inner.ecn;
    assert.deepEqual(await outer(), [`46 ECN ${setEcn}`]);
    await set("inherit");
    assert.deepEqual(await outer(), [`${inner.dscp} ECN ${inner.ecn}`]);
    await set("0");
    assert.deepEqual(await outer(), [`0 ECN ${setEcn}`]);
  });
