/**
 * Endpoints that are attached by an interface of the host: a virtual machine's tap that weft makes, and what somebody else made.
 * The machine's network stack is Linux's, its network card a tap, and between both stands what QEMU does.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { createNetworks, idle, inLab, pings, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { settledFootprint } from "../support/cluster-footprint.ts";
import { inTenant } from "../support/cluster-tables.ts";
import { startStream } from "../support/cluster-traffic.ts";
import { fileRequires } from "../support/kernel.ts";
import { testNamespace } from "../support/namespaces.ts";
import { TapGuest, type TapOptions } from "../support/tap-guest.ts";

await fileRequires("quick processes", "tap");

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24", "fd01::/64"] },
  { name: "late", subnets: ["10.2.0.0/24"] },
  { name: "pods", mode: "l3", subnets: ["10.3.0.0/16"] },
]);
lab.addContainer("b");
const peer = await lab.attach("b", "h2", "web");
await idle(lab, "h1", "h2");
const b = lab.namespace("b");
const h1 = lab.namespace("h1");
file.after(() => {
  b.close();
  h1.close();
});
const empty = await settledFootprint(lab);

const own = { mac: "52:54:00:00:00:01", ips: ["10.1.0.51", "fd01::51"] };
const there = ["--agent", lab.agentSocket("h1")];

async function operate(...words: readonly string[]): Promise<string> {
  const { status, output, complaints } = await weft([...words, ...there]);
  assert.equal(status, 0, `weft ${words.join(" ")}: ${complaints}`);
  return output;
}

const refused = async (...words: readonly string[]): Promise<string> => {
  const { status, complaints } = await weft([...words, ...there]);
  assert.equal(status, 1, `weft ${words.join(" ")}`);
  return complaints;
};

/** What weft wrote, and mended, at h1 so far. */
async function work(): Promise<string> {
  const { netlinkWrites, repairs } = await lab.agent("h1").getStatus({});
  return `${netlinkWrites} writes, ${repairs} repairs`;
}

/** A virtual machine whose card has these addresses. */
const guest = testNamespace("guest");
file.after(() => guest[Symbol.dispose]());

function powerOn(tap = "vm1", options: TapOptions = {}): TapGuest {
  const running = new TapGuest({ namespace: h1, tap, ...options }, { namespace: guest.namespace, tap: "card" });
  guest.shell(`
    ip link set card address ${own.mac} mtu 1450; ip link set card up
    ip addr replace ${own.ips[0]}/24 dev card; ip addr replace ${own.ips[1]}/64 dev card nodad`);
  return running;
}

let machine: TapGuest;
file.after(() => machine?.close());

const attachMachine = () =>
  operate(
    "attach",
    "web",
    "--tap",
    "vm1",
    "--owner",
    "1234",
    "--group",
    "nogroup",
    "--mac",
    own.mac,
    ...own.ips.flatMap((ip) => ["--ip", ip]),
  );

async function assertTalking(): Promise<void> {
  for (const ip of own.ips) assert.ok(await pings(b, ip), `to ${ip}`);
  for (const ip of peer.ips) assert.ok(await pings(guest.namespace, ip), `from the machine to ${ip}`);
}

test("a tap is made, and opened by whom it is for; its machine is reached", async () => {
  assert.match(
    await attachMachine(),
    /^tap vm1: 10\.1\.0\.51\/24, fd01::51\/64, MAC 52:54:00:00:00:01, MTU 1450, endpoint /,
  );
  const [link] = JSON.parse(await inLab(lab, "h1", "ip", "-j", "-d", "link", "show", "vm1"));
  assert.equal(link.linkinfo.info_kind, "tun");
  assert.equal(link.mtu, 1450);
  assert.deepEqual([link.linkinfo.info_data.user, link.linkinfo.info_data.group], [1234, "nogroup"]);
  machine = powerOn();
  await assertTalking();
  const { output } = await weft(["status", ...there]);
  assert.match(output, /\n\S+ +web +done +10\.1\.0\.51, fd01::51 +vm1\n$/);
  assert.match(
    await refused("attach", "web", "--tap", "vm1"),
    /endpoint \S+ of network web is attached there\n {2}try: detach it first: weft detach web --tap vm1/,
  );
});

test("it sends as itself alone, and the host says nothing to it", async () => {
  guest.shell("ip addr add 10.1.0.99/24 dev card");
  await until(async () => {
    guest.shell(`ping -c1 -W1 -I 10.1.0.99 ${peer.ips[0]} || true`);
    const { endpoints } = await lab.agent("h1").getStatus({});
    assert.ok(Number(endpoints[0]?.dropped.ip ?? 0) > 0);
  });
  guest.shell("ip addr del 10.1.0.99/24 dev card");
  assert.equal(await inLab(lab, "h1", "ip", "-6", "addr", "show", "dev", "vm1"), "");
});

test("a restart of the agent finds all as it was, and the machine loses nothing", async (t) => {
  const stream = await startStream(t, b, guest.namespace, own.ips[0] ?? "");
  lab.kill("h1");
  await lab.startAgent("h1");
  await idle(lab, "h1");
  assert.equal(await work(), "0 writes, 0 repairs");
  const traffic = await stream.stop();
  assert.equal(traffic.lost, 0);
  assert.equal(traffic.tcpError, "");
});

for (const [what, script] of [
  ["its filters go", "tc qdisc del dev vm1 clsact"],
  ["the filters of its port's end go", "tc qdisc del dev $(ip -o link | grep -o 'vi[0-9a-f]*@' | tr -d @) clsact"],
  ["the tap goes down", "ip link set vm1 down"],
  ["the end of its port goes down", "ip link set $(ip -o link | grep -o 'vi[0-9a-f]*@' | tr -d @) down"],
  ["the end of its port is deleted", "ip link del $(ip -o link | grep -o 'vi[0-9a-f]*@' | tr -d @)"],
  ["its MTU is another", "ip link set vm1 mtu 1200"],
] as const)
  test(`damage is repaired: ${what}`, async () => {
    const before = await work();
    await inLab(lab, "h1", "sh", "-ec", script);
    await until(async () => assert.notEqual(await work(), before));
    await idle(lab, "h1");
    await assertTalking();
    const [link] = JSON.parse(await inLab(lab, "h1", "ip", "-j", "link", "show", "vm1"));
    assert.equal(link.mtu, 1450);
  });

test("a tap that was deleted is made again, for the machine's next start", async () => {
  machine.close();
  await inLab(lab, "h1", "ip", "link", "del", "vm1");
  await until(() => inLab(lab, "h1", "ip", "link", "show", "vm1").then(() => {}));
  await idle(lab, "h1");
  machine = powerOn();
  await assertTalking();
});

test("after a restart of the host the tap is there before its machine", async () => {
  machine.close();
  lab.kill("h1");
  // As a host that starts has nothing of it.
  await inLab(lab, "h1", "ip", "link", "del", "vm1");
  await inLab(lab, "h1", "ip", "netns", "del", `${lab.names.instance("h1")}-acme`);
  await lab.startAgent("h1");
  await idle(lab, "h1");
  machine = powerOn();
  await assertTalking();
});

test("what is detached leaves nothing; also while no agent ran", async () => {
  assert.match(await operate("detach", "web", "--tap", "vm1"), /^tap vm1: endpoint \S+ released\n$/);
  machine.close();
  assert.match(await operate("detach", "web", "--tap", "vm1"), /^nothing of network web was attached as tap vm1\n$/);
  await idle(lab, "h1", "h2");
  assert.deepEqual(await settledFootprint(lab), empty);
});

test("an interface of somebody else's is joined, and given back as it was", async () => {
  const inHost = (script: string) => inLab(lab, "h1", "sh", "-ec", script);
  // What others do with its packets stays.
  const filter =
    "tc qdisc add dev vnet7 clsact; tc filter add dev vnet7 egress protocol all pref 9 bpf bytecode '1,6 0 0 0'";
  const makeInterface = `ip link add vnet7 type veth peer name card netns ${guest.name}; ip link set vnet7 up; ${filter}`;
  const configure = `ip link set card address ${own.mac} mtu 1450 up; ip addr add ${own.ips[0]}/24 dev card; ip addr add ${own.ips[1]}/64 dev card nodad`;
  assert.match(
    await refused("attach", "web", "--interface", "vnet7"),
    /the host has no interface vnet7\n {2}try: ip link; or let weft make a tap/,
  );
  await inHost(`${makeInterface}; ip addr add 10.9.9.9/24 dev vnet7`);
  guest.shell(configure);
  assert.match(await refused("attach", "web", "--interface", "vnet7"), /vnet7 has the host's address 10\.9\.9\.9/);
  await inHost("ip addr flush dev vnet7; ip link add br9 type bridge; ip link set vnet7 master br9");
  assert.match(await refused("attach", "web", "--interface", "vnet7"), /it is a port of a bridge/);
  assert.match(await refused("attach", "web", "--tap", "vnet7"), /the host has an interface vnet7 already/);
  await inHost("ip link set vnet7 nomaster; ip link del br9; ip link add link vnet7 name vlan9 type macvlan");
  assert.match(await refused("attach", "web", "--interface", "vnet7"), /vlan9 is on vnet7, and would hear nothing/);
  await inHost("ip link del vlan9");
  const traits =
    "ip -d link show vnet7; tc qdisc show dev vnet7; tc filter show dev vnet7 ingress; tc filter show dev vnet7 egress";
  const before = await inHost(traits);
  assert.match(
    await operate("attach", "web", "--interface", "vnet7", "--mac", own.mac, ...own.ips.flatMap((ip) => ["--ip", ip])),
    /^interface vnet7: 10\.1\.0\.51\/24, fd01::51\/64, MAC 52:54:00:00:00:01/,
  );
  await assertTalking();

  await inHost("ip link del vnet7");
  // Nothing leads its frames away any more: they are not the host's to take.
  await inTenant(lab, "h1", "acme", "sh", "-ec", "ip link del $(ip -br link | grep -o '^ve[0-9a-f]*')");
  await until(async () => {
    const end = await inLab(lab, "h1", "sh", "-c", "ip -o link | grep 'vi[0-9a-f]' || true");
    assert.match(end, /<BROADCAST,MULTICAST(,M-DOWN)?> .*state DOWN/);
  });
  await until(async () => {
    const { problems } = await lab.agent("h1").getStatus({});
    assert.match(problems[0]?.reason ?? "", /the host has no such interface; it is joined as soon as there is one/);
  });
  await inHost(makeInterface);
  guest.shell(configure);
  await idle(lab, "h1");
  await assertTalking();

  await operate("detach", "web", "--interface", "vnet7");
  const names = (text: string): string => text.replace(/^\d+: |link-netnsid \d+|@if\d+/gm, "");
  assert.equal(
    names(await inHost(traits)).replace(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC"),
    names(before).replace(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC"),
  );
  await inHost("ip link del vnet7");
  await idle(lab, "h1", "h2");
  assert.deepEqual(await settledFootprint(lab), empty);
});

test("what an agent left of endpoints that are gone goes when one starts", async () => {
  const others = ["vnet8", "vnet9"];
  for (const name of others) await inLab(lab, "h1", "ip", "link", "add", name, "type", "veth");
  await operate("attach", "late", "--tap", "vm2");
  for (const name of others) await operate("attach", "late", "--interface", name);
  await idle(lab, "h1");
  const devices = async (): Promise<string> =>
    inLab(lab, "h1", "sh", "-c", "ip -o link | grep -E 'vm2|vi[0-9a-f]{12}' || true");
  assert.match(await devices(), /vm2/);
  lab.kill("h1");
  // As soon as the agent's process has let go of it.
  await until(() => {
    const database = new DatabaseSync(join(lab.names.directory, "h1", "agent.db"));
    try {
      database.exec("DELETE FROM attachments");
    } finally {
      database.close();
    }
  });
  // Of one of them the port is gone, too.
  await inLab(
    lab,
    "h1",
    "sh",
    "-ec",
    "ip link del $(tc filter show dev vnet9 ingress | grep -oE 'vi[0-9a-f]{12}' | head -n1)",
  );
  await lab.startAgent("h1");
  await until(async () => assert.equal(await devices(), ""));
  for (const name of others) {
    await until(async () => assert.doesNotMatch(await inLab(lab, "h1", "tc", "qdisc", "show", "dev", name), /clsact/));
    await inLab(lab, "h1", "ip", "link", "del", name);
  }
  await idle(lab, "h1", "h2");
  assert.deepEqual(await settledFootprint(lab), empty);
});

test("a machine in a layer-3 network reaches other nodes by the gateway of its node", async () => {
  lab.addContainer("p");
  const { ips } = await lab.attach("p", "h2", "pods");
  const [, ip = "", length = ""] =
    /^tap vm3: ([0-9.]+)\/(\d+), MAC/.exec(
      await operate("attach", "pods", "--tap", "vm3", "--multi-queue", "--mac", own.mac),
    ) ?? [];
  await idle(lab, "h1", "h2");
  machine = powerOn("vm3", { isMultiQueue: true });
  guest.shell(`ip addr flush dev card; ip addr add ${ip}/${length} dev card`);
  const gateway = ip.replace(/\d+$/, (last) => `${Number(last) - 1}`);
  guest.shell(`ip route add default via ${gateway}`);
  assert.ok(await pings(guest.namespace, ips[0] ?? ""));
  using p = lab.namespace("p");
  assert.ok(await pings(p, ip));
});
