/** systemd-nspawn and LXC on the hosts of a lab, as documented: their containers are in networks of weft's. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram } from "../../src/lab/process.ts";
import {
  BackgroundProgram,
  createNetworks,
  type Finished,
  namespaceNames,
  type Owner,
  pings,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weftDone,
} from "../support/cluster.ts";
import { busyboxRoot } from "./busybox.ts";
import { documented, weftOfHost, writeProgram } from "./documented.ts";

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/24"], dhcp: {} }]);
lab.addContainer("other");
const other = await lab.attach("other", "h2", "web");
const folder = testDirectory(file);
// LXC keeps them for the next container.
file.after(() => void spawnSync("sh", ["-c", "rmdir /sys/fs/cgroup/*/lxc.pivot /sys/fs/cgroup/lxc.pivot"]));
const bin = weftOfHost(folder, lab, "h1");
const root = join(folder, "root");
mkdirSync(root);
execFileSync("tar", ["-C", root, "-xf", busyboxRoot(folder)]);
// Without it systemd-nspawn takes a folder for no system.
mkdirSync(join(root, "usr"));
writeFileSync(join(root, "etc/os-release"), "ID=busybox\n");

/** On the host, which has a `weft` in its path. */
const environment = [`PATH=${bin}:/usr/sbin:/usr/bin:/sbin:/bin`];

async function onHost(...words: readonly string[]): Promise<Finished> {
  using namespace = lab.namespace("h1");
  return runProgram(namespace, "env", [...environment, ...words]);
}

async function doneOnHost(...words: readonly string[]): Promise<string> {
  const { status, output, complaints } = await onHost(...words);
  assert.equal(status, 0, `${words.join(" ")}: ${complaints}`);
  return output;
}

const status = (): Promise<string> => weftDone("status", "--agent", lab.agentSocket("h1"));

async function assertReached(...addresses: readonly string[]): Promise<void> {
  using namespace = lab.namespace("other");
  for (const address of addresses) await until(async () => assert.ok(await pings(namespace, address), address));
}

/** A container of systemd-nspawn that runs a command. No systemd need run: none keeps the container in its books. */
function nspawn(owner: Owner, words: readonly string[], command: string): BackgroundProgram {
  using namespace = lab.namespace("h1");
  const common = ["--quiet", `--directory=${root}`, "--volatile=overlay", "--register=no", "--keep-unit"];
  return new BackgroundProgram(owner, namespace, "systemd-nspawn", [...common, ...words, "sh", "-c", command]);
}

test("systemd-nspawn: a container in a namespace that has a name", async (t) => {
  const name = lab.names.container("c1");
  const commands = documented("", "--network-namespace-path");
  assert.match(
    commands,
    /^ip netns add c1\nweft attach web --netns c1\nsystemd-nspawn .*--network-namespace-path=\/run\/netns\/c1 /,
  );
  lab.addContainer("c1");
  const given = await doneOnHost("weft", "attach", "web", "--netns", name);
  const [, address = ""] = /eth0 in \S+: ([\d.]+)\/24/.exec(given) ?? [];
  const path = `--network-namespace-path=/run/netns/${name}`;
  const container = nspawn(t, [path], `ping -c 1 -w 60 ${other.ips[0]} && echo reached; exec sleep 1000`);
  await container.said(/^reached$/m);
  await assertReached(address);
  await container.end();
  // Stopped, it keeps its endpoint.
  assert.match(await status(), new RegExp(` done +${address} `));
  await doneOnHost("weft", "detach", "web", "--netns", name);
});

test("systemd-nspawn: a container by the host's end of its own pair, which asks by DHCP", async (t) => {
  const told = '[ "$1" = bound ] && ip addr add $ip/$mask dev host0 && echo told';
  const container = nspawn(
    t,
    ["--network-veth", "--machine=c2"],
    `echo card $(cat /sys/class/net/host0/address); echo '#!/bin/sh
${told}' >/tmp/told; chmod +x /tmp/told; ip link set host0 up; exec busybox udhcpc -f -i host0 -s /tmp/told`,
  );
  await container.said(/^card \S+/m);
  const [, card = ""] = /^card (\S+)/m.exec(container.output) ?? [];
  const commands = documented("", "--interface ve-c1").replaceAll("ve-c1", "ve-c2").replace("MAC", card);
  const [, address = ""] = /interface ve-c2: ([\d.]+)\/24/.exec(await doneOnHost("sh", "-ec", commands)) ?? [];
  await container.said(/^told/m);
  await assertReached(address);
  await container.end();
  await doneOnHost("weft", "detach", "web", "--interface", "ve-c2");
});

/** A container of LXC's by this configuration, besides what it is of. */
function lxcContainer(name: string, network: string): void {
  const own = join(folder, "lxc", name);
  mkdirSync(own, { recursive: true });
  writeFileSync(
    join(own, "config"),
    `lxc.uts.name = ${name}
lxc.rootfs.path = dir:${root}
lxc.init.cmd = /bin/sleep 1000
${network}`,
  );
}

function lxc(verb: string, name: string, ...words: readonly string[]): Promise<string> {
  return doneOnHost(`lxc-${verb}`, "--lxcpath", join(folder, "lxc"), "--name", name, ...words);
}

/** Starts one, which ends with the test. */
async function startLxc(owner: Owner, name: string): Promise<void> {
  owner.after(async () => {
    await onHost("lxc-stop", "--kill", "--lxcpath", join(folder, "lxc"), "--name", name);
  });
  await lxc("start", name);
}

test("LXC: a container whose namespace is attached by hooks, and given back", async (t) => {
  const hooks = { attach: join(folder, "weft-attach"), detach: join(folder, "weft-detach") };
  writeProgram(hooks.attach, documented("sh", "ip netns attach"));
  writeProgram(hooks.detach, documented("sh", "ip netns delete"));
  const config = documented("", "lxc.hook.start-host")
    .replace("/etc/lxc/weft-attach", hooks.attach)
    .replace("/etc/lxc/weft-detach", hooks.detach);
  const name = lab.names.container("c3");
  lxcContainer(name, config);
  await startLxc(t, name);
  const [, address = ""] =
    /inet ([\d.]+)\//.exec(await lxc("attach", name, "--", "/bin/ip", "-4", "addr", "show", "eth0")) ?? [];
  assert.match(
    await lxc("attach", name, "--", "/bin/ping", "-c", "1", "-w", "60", other.ips[0] ?? ""),
    /1 packets received/,
  );
  await assertReached(address);
  await lxc("stop", name, "--kill");
  await until(() => assert.ok(!namespaceNames().includes(name)));
  assert.doesNotMatch(await status(), new RegExp(` ${address} `));
});

test("LXC: a container in a namespace that has a name", async (t) => {
  const name = lab.names.container("c4");
  lab.addContainer("c4");
  const [, address = ""] =
    /eth0 in \S+: ([\d.]+)\/24/.exec(await doneOnHost("weft", "attach", "web", "--netns", name)) ?? [];
  lxcContainer(name, `lxc.namespace.share.net = /run/netns/${name}\n`);
  await startLxc(t, name);
  assert.match(await lxc("attach", name, "--", "/bin/ip", "addr", "show", "eth0"), new RegExp(`inet ${address}/24`));
  await assertReached(address);
});
