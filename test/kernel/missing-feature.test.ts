/** A kernel without what a network needs: the error says what is missing and how to get it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/base/clock.ts";
import { WeftError } from "../../src/base/errors.ts";
import { DesiredNetwork } from "../../src/dataplane/desired.ts";
import { LinkTable } from "../../src/dataplane/devices/link-table.ts";
import { Tunnels } from "../../src/dataplane/devices/tunnels.ts";
import { explainMissing } from "../../src/dataplane/missing-module.ts";
import type { Vni } from "../../src/model/resources.ts";
import {
  createLink,
  createQdisc,
  getLink,
  NetlinkSocket,
  qdiscParent,
  type SystemError,
  tcHandle,
} from "../../src/netlink/index.ts";
import { networkSettings } from "../../src/testing/desired.ts";
import { FakeKernel } from "../../src/testing/fake-kernel.ts";
import { testNamespace } from "../support/namespaces.ts";

const network = networkSettings({ vni: 4242 as Vni });

/** What this kernel answers when it is asked for a kind of device that it does not have. */
async function realRefusal(): Promise<SystemError> {
  using host = testNamespace("host");
  using socket = new NetlinkSocket({ namespace: host.namespace });
  const refusal = await socket.execute(createLink("nosuchkind", { name: "x" })).then(
    () => assert.fail("the kernel made a device of a kind that does not exist"),
    (error: SystemError) => error,
  );
  return refusal;
}

test("a kind of device that the kernel lacks is refused as unsupported, in the kernel's words", async () => {
  const { code, errnoName, reason } = await realRefusal();
  assert.deepEqual({ code, errnoName }, { code: "unsupported", errnoName: "EOPNOTSUPP" });
  assert.match(reason, /Unknown device type/);
});

test("a kernel without vxlan: the error names the module to load", async () => {
  const { errno, kernelMessage } = await realRefusal();
  using host = testNamespace("tenant");
  using socket = new NetlinkSocket({ namespace: host.namespace });
  // This kernel has vxlan, so the one that makes tunnels is played; it answers as the real one does to other kinds.
  const answer = { errno, ...(kernelMessage === undefined ? {} : { message: kernelMessage }) };
  using underlay = new NetlinkSocket({ channel: new FakeKernel({ handlers: [() => answer] }) });
  const place = {
    instance: "test",
    namespace: host.kernel,
    socket,
    underlay,
    underlayNamespace: host.kernel,
    isOnHost: false,
    offload: {},
  };
  const failures: (Error | undefined)[] = [];
  const nothing = (): void => {};
  const tunnels = new Tunnels({
    desired: new DesiredNetwork(network),
    context: { ...place, clock: systemClock, links: () => new LinkTable(socket) },
    bridge: () => undefined,
    prioritise: async () => {},
    onMade: nothing,
    onChange: nothing,
    onRepaired: nothing,
    onAttempt: (_name, failure) => failures.push(failure?.error),
  });
  await tunnels.objects.ensure();
  const [error] = failures;
  assert.ok(error instanceof WeftError);
  assert.equal(error.code, "unsupported");
  assert.match(error.message, /create vxlan vx4242/);
  assert.match(error.hint ?? "", /modprobe vxlan/);
});

test("a kernel without a kind of qdisc: the error names the module to load", async () => {
  using host = testNamespace("host");
  using socket = new NetlinkSocket({ namespace: host.namespace });
  host.shell("ip link add v0 type veth peer name p0");
  const { index } = await socket.get(getLink({ name: "v0" }));
  const nosuch = createQdisc({ index, kind: "nosuchkind", handle: tcHandle(1), parent: qdiscParent.root });
  await assert.rejects(socket.execute(nosuch).catch(explainMissing("sch_nosuchkind")), (error: SystemError) => {
    assert.equal(error.errnoName, "ENOENT");
    assert.equal(error.hint, "this kernel has no sch_nosuchkind; load it with: modprobe sch_nosuchkind");
    return true;
  });
});
