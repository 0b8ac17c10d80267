import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "../../base/ip.ts";
import type { DevicePlace } from "../../dataplane/index.ts";
import { weftGroup } from "../../dataplane/kernel-names.ts";
import { type AttachFixture, attachContract } from "../../testing/attach-contract.ts";
import { FakeMachine } from "../../testing/kernel/machine.ts";
import { DeviceAttachment } from "./device.ts";
import type { DeviceRequest } from "./kind.ts";

const tap = (device: string): DeviceRequest => ({ kind: "device", device, tap: { owner: 7, isMultiQueue: true } });
const joined = (device: string): DeviceRequest => ({ kind: "device", device });

function machineWith(...devices: readonly string[]): FakeMachine {
  const machine = new FakeMachine();
  for (const name of devices) machine.host.links.add({ name, kind: "tun" });
  return machine;
}

function fixture(
  machine: FakeMachine,
): Omit<AttachFixture<DeviceRequest, DevicePlace>, "free" | "respelt" | "impossible"> {
  const { links } = machine.host;
  return {
    kind: new DeviceAttachment(machine.current()),
    text: () => machine.text(),
    occupy: ({ device }) => {
      const present = links.find(device);
      if (present !== undefined) present.group = weftGroup;
      else links.add({ name: device, kind: "tun" });
    },
    destroy: ({ device }) => {
      const present = links.find(device);
      if (present !== undefined) links.remove(present);
    },
  };
}

attachContract("a tap of the host", () => ({
  ...fixture(machineWith()),
  free: [tap("vm1"), tap("vm2")],
  respelt: tap("vm1"),
  impossible: [tap("a/b"), tap(""), tap("longer-than-fifteen")],
}));

attachContract("an interface of the host", () => ({
  ...fixture(machineWith("vnet1", "vnet2")),
  free: [joined("vnet1"), joined("vnet2")],
  respelt: joined("vnet1"),
  impossible: [joined("none"), joined("a/b")],
}));

test("an interface that the host lives by is refused", async () => {
  const machine = machineWith("eth0", "vnet1");
  const { links, addresses } = machine.host;
  const kind = new DeviceAttachment(machine.current());
  const [uplink, port] = ["eth0", "vnet1"].map((name) => links.find(name) ?? assert.fail());
  if (uplink !== undefined) addresses.add(uplink, ip("192.0.2.1"), 24);
  await assert.rejects(kind.find(joined("eth0"), [], "try"), /eth0 has the host's address 192\.0\.2\.1/);
  await assert.rejects(kind.find(joined("lo"), [], "try"), /lo cannot be an endpoint's: it carries no Ethernet frames/);
  if (port !== undefined) port.master = links.add({ name: "br9", kind: "bridge" });
  await assert.rejects(kind.find(joined("vnet1"), [], "try"), /it is a port of a bridge or bond/);
});
