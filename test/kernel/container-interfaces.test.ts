/** What happens to an interface inside a container: weft sets back what is its own, leaves the rest and tells; it never makes it anew. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, beforeEach, describe, it } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { type DataplaneEvent, type NetworkSettings, NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import { nameOfObject } from "../../src/dataplane/objects.ts";
import {
  createNamedNamespace,
  deleteNamedNamespace,
  NetworkNamespace,
  namedNamespacePath,
} from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { until } from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { makeUnderlay, settled, type Underlay } from "../support/underlay.ts";

const id = "0000000000a1";
const object = { kind: "endpoint", tenant: "blue", network: "blue-net", key: id };
const settings = networkSettings({ vni: 4243 as Vni, localVtep: ip("10.99.0.1") });

describe("an interface in a container", requires("nft-inet"), () => {
  let underlay: Underlay;
  let container: TestNamespace;
  let dataplane: NodeDataplane;
  let events: DataplaneEvent[] = [];
  const tenant = `t${process.pid}i-blue`;

  /** A dataplane as an agent that starts has it. */
  async function start(changes: Partial<NetworkSettings> = {}): Promise<void> {
    const [host] = underlay.hosts;
    dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance: `t${process.pid}i`,
      underlay: (host as TestNamespace).kernel,
      clock: systemClock,
      report: (event) => events.push(event),
    });
    await dataplane.setUnderlay([ip("10.99.0.1")], undefined);
    put(changes);
    await dataplane.start();
  }

  function put(changes: Partial<NetworkSettings>): void {
    const network = dataplane.putNetwork({ ...settings, ...changes });
    network.putLocal({
      id,
      mac: mac("02:aa:00:00:00:01"),
      addresses: [
        { address: ip("10.0.0.1"), prefixLength: 24 },
        { address: ip("fd00::1"), prefixLength: 64 },
      ],
      place: placeIn(namedNamespacePath(container.name)),
    });
  }

  const links = (): string => container.shell("ip -o link | awk '{print $1, $2}'");
  const note = (): string => dataplane.network("blue-net")?.dataplane.ports.noteOf(id) ?? "";
  const messages = (kind: DataplaneEvent["kind"]): string[] =>
    events
      .filter((event) => event.kind === kind && nameOfObject(event.object) === nameOfObject(object))
      .map(({ message }) => message);
  const inTenant = (script: string): string => {
    using namespace = NetworkNamespace.openNamed(tenant);
    return namespace.run(() => execFileSync("/bin/sh", ["-e", "-c", script], { encoding: "utf8" }));
  };

  before(async () => {
    underlay = makeUnderlay(1);
    container = testNamespace("c1");
    await start();
    await settled(dataplane);
  });
  beforeEach(() => {
    events = [];
  });
  after(async () => {
    await dataplane.close();
    deleteNamedNamespace(tenant);
    container[Symbol.dispose]();
    underlay[Symbol.dispose]();
  });

  it("keeps its routes when its MAC address was changed: that is set back in place, at the start, too", async () => {
    container.shell("ip route add 172.31.0.0/16 via 10.0.0.9");
    const whole = links();
    for (const look of [
      () => dataplane.audit(),
      async () => {
        await dataplane.close();
        await start();
      },
    ]) {
      events = [];
      container.shell("ip link set eth0 address 02:bb:00:00:00:07");
      await look();
      await settled(dataplane);
      assert.equal(links(), whole);
      assert.match(container.shell("ip link show eth0"), /02:aa:00:00:00:01/);
      assert.match(container.shell("ip route"), /172\.31\.0\.0\/16/);
      assert.deepEqual(messages("repaired"), ["MAC address of eth0 had been changed to 02:bb:00:00:00:07; set back"]);
    }
  });

  it("has its IPv6 addresses again after it was down, which takes them away", async () => {
    const addresses = (): string => container.shell("ip -o -6 address show dev eth0 scope global");
    const before = addresses();
    assert.match(before, /fd00::1\/64/);
    container.shell("ip link set eth0 down; ip link set eth0 up");
    await until(() => assert.equal(addresses(), before));
  });

  it("keeps a new name, which is told once and shown, also to an agent that starts again", async () => {
    container.shell(`ip link set eth0 down; ip link set eth0 name net0; ip link set net0 up
      ip route add 172.31.0.0/16 via 10.0.0.9`);
    const whole = links();
    const told = "interface eth0 has been renamed to net0, and is left so";
    await dataplane.audit();
    await dataplane.audit();
    await settled(dataplane);
    assert.deepEqual(messages("adjusted"), [told]);
    assert.equal(note(), told);
    // IPv6 addresses go with an interface that is taken down: they are given again under the new name.
    assert.match(container.shell("ip -br addr show net0"), /10\.0\.0\.1\/24 .*fd00::1\/64/);
    await dataplane.close();
    await start();
    await settled(dataplane);
    assert.equal(dataplane.writes, 0);
    assert.equal(note(), told);
    // Somebody else's interface may have the old name.
    container.shell("ip link add eth0 type veth peer name other");
    await dataplane.audit();
    container.shell("ip link del eth0");
    await settled(dataplane);
    assert.equal(links(), whole);
    assert.match(container.shell("ip route"), /172\.31\.0\.0\/16/);
    container.shell("ip link set net0 down; ip link set net0 name eth0; ip link set eth0 up");
    await dataplane.audit();
    assert.equal(note(), "");
    assert.deepEqual(messages("recovered"), [`no more: ${told}`]);
  });

  it("that was moved into another namespace is told as a problem and left, and is well when it comes back", async () => {
    using other = testNamespace("c2");
    const port = inTenant(`ip -o link show ve${id} | cut -d: -f1`);
    container.shell(`ip link set eth0 netns ${other.name}`);
    for (const look of [
      () => dataplane.audit(),
      async () => {
        await dataplane.close();
        await start();
      },
    ]) {
      await look();
      assert.match(
        dataplane.problems.get(object)?.error.message ?? "",
        /somebody has moved its interface eth0 into another network namespace/,
      );
      assert.match(other.shell("ip link show eth0"), /02:aa:00:00:00:01/);
      assert.equal(inTenant(`ip -o link show ve${id} | cut -d: -f1`), port);
    }
    other.shell(`ip link set eth0 netns ${container.name}`);
    await dataplane.audit();
    await settled(dataplane);
    assert.match(container.shell("ip -br addr show eth0"), /10\.0\.0\.1\/24 .*fd00::1\/64/);
  });

  it("is made in the new namespace when the name came to mean one, though the old one lives on", async () => {
    using old = NetworkNamespace.openNamed(container.name);
    deleteNamedNamespace(container.name);
    createNamedNamespace(container.name);
    await dataplane.audit();
    await settled(dataplane);
    assert.match(
      execFileSync("ip", ["-n", container.name, "-br", "addr", "show", "eth0"], { encoding: "utf8" }),
      /10\.0\.0\.1\/24/,
    );
    assert.doesNotMatch(
      old.run(() => execFileSync("ip", ["-o", "link"], { encoding: "utf8" })),
      /eth0/,
    );
    container[Symbol.dispose]();
    container = testNamespace("c3");
    put({});
    await dataplane.changed();
    await settled(dataplane);
  });

  it("gets IPv6 switched on where the network has it, and is repaired when it was switched off later", async () => {
    container.shell("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
    inTenant(`ip link set ve${id} down`);
    await dataplane.audit();
    await settled(dataplane);
    assert.match(container.shell("ip -br addr show eth0"), /10\.0\.0\.1\/24 .*fd00::1\/64/);
    assert.match(inTenant(`ip link show ve${id}`), /,UP/);
    assert.deepEqual(messages("adjusted"), [
      "IPv6 had been switched off on eth0; switched on, since the network has IPv6",
    ]);
    // Made anew in a container that wants no IPv6 anywhere.
    inTenant(`ip link del ve${id}`);
    await dataplane.audit();
    await settled(dataplane);
    assert.match(container.shell("ip -br addr show eth0"), /10\.0\.0\.1\/24 .*fd00::1\/64/);
    assert.equal(container.shell("sysctl -n net.ipv6.conf.eth0.accept_ra").trim(), "0");
    assert.equal(container.shell("sysctl -n net.ipv6.conf.all.disable_ipv6").trim(), "1");
  });

  it("works over IPv4 where it can have no IPv6, and tells what is missing", async () => {
    put({ mtu: 1200 });
    await dataplane.changed();
    await settled(dataplane);
    assert.match(container.shell("ip -br addr show eth0"), /10\.0\.0\.1\/24/);
    assert.equal(
      note(),
      "fd00::1 could not be given to eth0: the kernel has no IPv6 on it, as where the MTU is below 1280 octets",
    );
    assert.deepEqual(messages("adjusted"), [note()]);
    put({});
    await dataplane.changed();
    await settled(dataplane);
    assert.equal(note(), "");
    assert.match(container.shell("ip -br addr show eth0"), /10\.0\.0\.1\/24 .*fd00::1\/64/);
  });

  it("says what is missing where /proc/sys cannot be written to", () => {
    container.shell("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
    const sources = join(import.meta.dirname, "../../src");
    const script = `
      const { ensureIpv6 } = await import("${sources}/dataplane/devices/port/container-ipv6.ts");
      const { linuxKernel } = await import("${sources}/dataplane/linux-kernel.ts");
      const endpoint = { addresses: [{ address: "fd00::1", prefixLength: 64 }] };
      console.log(ensureIpv6(endpoint, linuxKernel.openNamed("${container.name}"), "eth0").lack);`;
    const words = ['mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec "$@"', "sh"];
    const node = [process.execPath, "--input-type=module", "-e", script];
    assert.match(
      execFileSync("unshare", ["--mount", "sh", "-c", ...words, ...node], { encoding: "utf8" }),
      /fd00::1 could not be given to eth0: IPv6 is switched off there, and cannot be switched on: .*EROFS/,
    );
  });
});
