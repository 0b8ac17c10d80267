import assert from "node:assert/strict";
import { it } from "node:test";
import { isErrno } from "../../linux/index.ts";
import { changeLink, NetlinkSocket } from "../../netlink/index.ts";
import { FakeKernel } from "../../testing/fake-kernel.ts";
import { applyChanges } from "./device-changes.ts";

it("names the device that a change was refused of, and keeps the kernel's error", async () => {
  const kernel = new FakeKernel();
  using socket = new NetlinkSocket({ channel: kernel });
  kernel.inject({ kind: "error", errno: 16 });
  await assert.rejects(
    applyChanges("vx100", socket, [changeLink({ index: 7 }, { up: true })], false, []),
    (error) => isErrno(error, "EBUSY") && error.attempted.startsWith("set up vx100: "),
  );
});
