import assert from "node:assert/strict";
import { it } from "node:test";
import { isErrno, SystemError } from "../../linux/index.ts";
import { createLink, NetlinkSocket } from "../../netlink/index.ts";
import { networkSettings } from "../../testing/desired.ts";
import { Scene } from "../../testing/scene.ts";

it("says what is in the way of a tunnel, and keeps the kernel's error", async () => {
  const scene = await Scene.make();
  const settings = networkSettings({});
  using holder = scene.machine.host.open("of another program");
  using socket = new NetlinkSocket({ channel: holder.openChannel({}) });
  const { vni } = settings;
  await socket.execute(createLink("vxlan", { name: "theirs", info: { vxlan: { vni, port: 4789, learning: false } } }));
  await scene.start((dataplane) => dataplane.putNetwork(settings));
  await scene.turns();
  const { error } = scene.dataplane.problems.find(({ kind }) => kind === "tunnel") ?? assert.fail();
  assert.ok(isErrno(error, "EEXIST"), `${error}`);
  assert.match(error.hint ?? "", /another device on this node has VNI/);
  assert.ok(error instanceof SystemError);
  await scene.dataplane.close();
});
