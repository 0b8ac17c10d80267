import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";
import { cidr } from "../../base/cidr.ts";
import { ip } from "../../base/ip.ts";
import { mac } from "../../base/mac.ts";
import { SystemError } from "../../linux/index.ts";
import { networkSettings } from "../../testing/desired.ts";
import { FakeBpf } from "../../testing/kernel/ebpf.ts";
import { endpointId, local, putRemote } from "../../testing/scenarios.ts";
import { DesiredNetwork, type NetworkSettings } from "../desired.ts";
import type { KernelBpfMap } from "../kernel.ts";
import { Guard } from "./guard.ts";
import { NetworkMacs } from "./network-macs.ts";
import { readMac } from "./rows.ts";

const tenant = 7;
const gateway = "02:57:00:00:00:64";
const macOf = (number: number): string => `02:00:00:00:00:${number.toString(16).padStart(2, "0")}`;

/** A network with an endpoint here and two elsewhere, the rows of its MACs, and how many there is room for. */
function scene(changes: Partial<NetworkSettings> = {}) {
  let room = Number.POSITIVE_INFINITY;
  let map: KernelBpfMap | undefined;
  let writes = 0;
  const bpf = new FakeBpf((operation) => {
    if (operation !== "write to eBPF map macs") return;
    writes++;
    const rows = map === undefined ? 0 : Array.from(map.keys()).length;
    if (rows >= room) throw new SystemError({ operation, errno: constants.errno.E2BIG });
  });
  const createMap = bpf.createMap.bind(bpf);
  bpf.createMap = (name) => {
    const made = createMap(name);
    if (name === "macs") map = made;
    return made;
  };
  const desired = new DesiredNetwork(networkSettings(changes));
  desired.putLocal(local(1));
  putRemote(desired, 10, 2);
  putRemote(desired, 11, 2);
  let hasPorts = true;
  const macs = new NetworkMacs({ guard: new Guard(bpf), tenant, desired, hasPorts: () => hasPorts });
  desired.markedBy(
    { mac: (changed) => macs.mark(changed), ip() {}, block() {}, flooded() {} },
    { settings() {}, peer() {}, port: (id) => macs.lookAt(id), forwarding() {} },
  );
  return {
    desired,
    macs,
    rows: (): string[] =>
      Array.from(map?.rows() ?? [], ([key, value]) => readMac(key, value))
        .map(({ mac, isWhole, isDeclared }) => (isWhole ? "whole" : `${mac}${isDeclared ? "" : " found"}`))
        .sort(),
    setRoom: (rows: number): void => {
      room = rows;
    },
    setPorts: (has: boolean): void => {
      hasPorts = has;
    },
    writes: (): number => writes,
  };
}

const first = [macOf(1), macOf(10), macOf(11), gateway, "whole"];

test("who comes is known at once, who goes when nothing leads there any more, and what stays is not written again", async () => {
  const { macs, desired, rows, writes } = scene();
  await macs.ensure();
  assert.deepEqual(rows(), first);
  assert.ok(macs.isSettled);
  putRemote(desired, 12, 3);
  desired.removeRemote(endpointId(10));
  desired.putLocal(local(1, { labels: { app: "web" } }));
  const before = writes();
  await macs.ensure();
  assert.deepEqual(rows(), [macOf(1), macOf(10), macOf(11), macOf(12), gateway, "whole"]);
  assert.equal(writes(), before + 1);
  macs.forget();
  assert.deepEqual(rows(), [macOf(1), macOf(11), macOf(12), gateway, "whole"]);
  assert.ok(macs.isSettled);
});

test("one that moves is known all the time, and with what endpoints here may send, as long as they may", async () => {
  const { macs, desired, rows } = scene();
  await macs.ensure();
  putRemote(desired, 1, 3);
  desired.removeLocal(endpointId(1));
  macs.forget();
  assert.deepEqual(rows(), first);
  const virtual = mac("00:00:5e:00:01:33");
  const allowing = local(2, { allowedAddresses: [{ prefix: cidr("10.0.0.100/32"), mac: virtual }] });
  desired.putLocal(allowing);
  await macs.ensure();
  assert.deepEqual(rows(), [`${virtual} found`, macOf(1), macOf(2), ...first.slice(1)]);
  desired.putLocal(local(2));
  await macs.ensure();
  macs.forget();
  assert.deepEqual(rows(), [macOf(1), macOf(2), ...first.slice(1)]);
});

test("as long as there is no room for all nothing is counted", async () => {
  const { macs, desired, rows, setRoom } = scene();
  setRoom(2);
  await assert.rejects(macs.ensure(), /it is full/);
  assert.ok(!rows().includes("whole"));
  assert.ok(!macs.isSettled);
  setRoom(5);
  await macs.ensure();
  assert.deepEqual(rows(), first);
  putRemote(desired, 12, 3);
  await assert.rejects(macs.ensure(), /it is full/);
  assert.ok(!rows().includes("whole"));
  desired.removeRemote(endpointId(10));
  macs.forget();
  await macs.ensure();
  assert.deepEqual(rows(), [macOf(1), macOf(11), macOf(12), gateway, "whole"]);
});

test("what was found to be in use is known, and nobody's", async () => {
  const { macs, desired, rows } = scene({ localLearning: true });
  putRemote(desired, 11, 2, { isLearned: true });
  await macs.ensure();
  assert.deepEqual(rows(), [macOf(1), macOf(10), `${macOf(11)} found`, gateway, "whole"]);
  putRemote(desired, 11, 2, { ips: [ip("10.0.0.11")] });
  await macs.ensure();
  assert.deepEqual(rows(), first);
});

for (const [name, changes] of Object.entries<Partial<NetworkSettings>>({
  "data-plane learning": { learning: "data-plane" },
  "endpoints that send as they like": { antiSpoof: false },
  "what is for nobody dropped": { floodsUnknown: false },
  "no limit": { stormControl: { port: 0, network: 0 } },
}))
  test(`there are no rows with ${name}, and none are left`, async () => {
    const { macs, desired, rows } = scene();
    const { settings } = desired;
    await macs.ensure();
    desired.setSettings({ ...settings, ...changes });
    assert.ok(!macs.isSettled);
    await macs.ensure();
    assert.deepEqual(rows(), []);
    assert.ok(macs.isSettled);
    desired.setSettings(settings);
    await macs.ensure();
    assert.deepEqual(rows(), first);
  });

test("there are none without ports, nor when the network has left", async () => {
  const { macs, rows, setPorts } = scene();
  setPorts(false);
  await macs.ensure();
  assert.deepEqual(rows(), []);
  setPorts(true);
  await macs.ensure();
  assert.deepEqual(rows(), first);
  await macs.remove();
  assert.deepEqual(rows(), []);
});
