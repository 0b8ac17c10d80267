/** libvirt on two hosts of a lab, with the hook and the parts of a description that are documented: its machines start, move and come back. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { imageScript } from "../../src/lab/qemu.ts";
import { hostAddresses } from "../../src/lab/underlay.ts";
import {
  createNetworks,
  idle,
  inLab,
  pings,
  testDirectory,
  testLab,
  theWholeFile,
  until,
  weftDone,
  weftJson,
} from "../support/cluster.ts";
import { documented } from "./documented.ts";
import { LibvirtHost } from "./libvirt-host.ts";

execFileSync(imageScript, { stdio: "ignore" });
const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  { name: "web", subnets: ["10.1.0.0/24"], gateway: "distributed", dhcp: { metadata: true } },
]);
lab.addContainer("c");
await lab.attach("c", "h2", "web");
const c = lab.namespace("c");
file.after(() => c.close());

const folder = testDirectory(file);
const addresses = { h1: hostAddresses(1).ipv4, h2: hostAddresses(2).ipv4 };
const [first, second] = [new LibvirtHost(lab, "h1", folder, addresses), new LibvirtHost(lab, "h2", folder, addresses)];
file.after(async () => {
  await Promise.all([first.end(), second.end()]);
});
await Promise.all([first.start(file), second.start(file)]);

const image = fileURLToPath(new URL("../../.runtime/vm/", import.meta.url));
const description = join(folder, "vm1.xml");
writeFileSync(
  description,
  `<domain type='qemu'>
<name>vm1</name>
${documented("xml", "<weft:port").replace('new="', 'new="--ip 10.1.0.9 ')}
<memory unit='MiB'>128</memory>
<os>
  <type arch='x86_64'>hvm</type>
  <smbios mode='sysinfo'/>
  <kernel>${image}kernel</kernel>
  <initrd>${image}initrd</initrd>
  <cmdline>console=ttyS0 quiet panic=-1</cmdline>
</os>
${documented("xml", "<sysinfo")}
<features><acpi/></features>
<on_poweroff>destroy</on_poweroff>
<devices>
  <emulator>/usr/bin/qemu-system-x86_64</emulator>
  <serial type='file'><source path='${folder}/console'/></serial>
  ${documented("xml", "<interface")}
</devices>
</domain>`,
);

const card = "52:54:00:00:00:01";
const address = "10.1.0.9";

async function endpoint(): Promise<{ id: string; node: string }> {
  const endpoints = await weftJson(["endpoint", "list", "--server", lab.serverSocket]);
  return endpoints.find(({ mac }: { mac: string }) => mac === card);
}

const taps = async (host: string): Promise<string> => inLab(lab, host, "ip", "-br", "link");
const answers = () => until(async () => assert.ok(await pings(c, address)));

test("a domain that starts is attached, and configures itself", async () => {
  await first.done("define", description);
  await first.done("start", "vm1");
  await answers();
  const { node, id } = await endpoint();
  assert.equal(node, "h1");
  assert.match(await weftDone("endpoint", "show", id, "--server", lab.serverSocket), /hostname=vm1/);
});

test("a domain that moves while it runs is followed, there and back", async () => {
  const { id } = await endpoint();
  for (const [from, to] of [
    [first, second],
    [second, first],
  ] as const) {
    const stream = `tcp://${addresses[to.host as "h1" | "h2"]}:49152`;
    await from.done("migrate", "--live", "vm1", to.uri, stream, "--persistent", "--undefinesource");
    await until(async () =>
      assert.deepEqual(await endpoint().then(({ id, node }) => ({ id, node })), { id, node: to.host }),
    );
    await answers();
    assert.match(await to.done("list", "--name"), /^vm1$/m);
    await until(async () => assert.doesNotMatch(await taps(from.host), /^vm1 /m));
    await idle(lab, "h1", "h2");
  }
});

test("a domain that is shut down keeps its endpoint, and starts again with it", async () => {
  const { id } = await endpoint();
  await first.done("destroy", "vm1");
  assert.match(await taps("h1"), /^vm1 /m);
  await first.done("start", "vm1");
  await answers();
  assert.equal((await endpoint()).id, id);
});

test("on another host it starts after the endpoint has moved there", async () => {
  const { id } = await endpoint();
  await first.done("destroy", "vm1");
  await first.done("undefine", "vm1");
  await second.done("define", description);
  const refused = await second.virsh("start", "vm1");
  assert.notEqual(refused.status, 0);
  assert.match(refused.complaints, /Hook script execution failed: (.|\n)* try: (.|\n)*weft migrate \w+ --to h2/);
  await weftDone("migrate", card, "--to", "h2", "--server", lab.serverSocket);
  await second.done("start", "vm1");
  await answers();
  assert.deepEqual(await endpoint().then(({ id, node }) => ({ id, node })), { id, node: "h2" });
});
