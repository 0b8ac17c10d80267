import assert from "node:assert/strict";
import { test } from "node:test";
import { ip } from "../../base/ip.ts";
import { listLinks, NetlinkSocket, Watch } from "../../netlink/index.ts";
import { FakeMachine } from "../../testing/kernel/machine.ts";
import { Nftables } from "../nft/nftables.ts";
import { ensureAnswering } from "./answering-devices.ts";
import { ensureAnswers } from "./answers.ts";
import { removeLeftoverUplinks } from "./leftovers.ts";
import type { Side } from "./pair.ts";

/** A host with two interfaces that obey router advertisements, and one that does not. */
class Host {
  readonly machine = new FakeMachine();
  readonly side: Side;
  readonly #watch: Watch;

  constructor() {
    const { links } = this.machine.host;
    for (const name of ["eth0", "eth1", "eth2"]) links.setUp(links.add({ name }), true);
    const namespace = this.machine.current();
    this.#watch = new Watch({ open: (options) => namespace.openChannel(options), groups: [] });
    const socket = new NetlinkSocket({ channel: namespace.openChannel({}) });
    this.side = { namespace, socket, nftables: new Nftables(namespace, this.#watch) };
    this.set("eth2/accept_ra", "0");
  }

  set(name: string, value: string): void {
    this.side.namespace.writeSysctl(`ipv6/conf/${name}`, value);
  }

  /** The devices that it answers on over IPv6. */
  answer(...devices: readonly string[]) {
    return ensureAnswering(this.side, { 4: [], 6: devices });
  }

  /** `forwarding` and `accept_ra` of each. */
  get routers(): Record<string, string> {
    const read = (name: string) => this.side.namespace.readSysctl(`ipv6/conf/${name}`);
    const devices = ["eth0", "eth1", "eth2"];
    return Object.fromEntries(
      devices.map((device) => [device, `${read(`${device}/forwarding`)} ${read(`${device}/accept_ra`)}`]),
    );
  }

  [Symbol.dispose](): void {
    this.#watch.close();
  }
}

test("a device that becomes a router's goes on obeying router advertisements, and no other is touched", async () => {
  using host = new Host();
  await host.answer("eth0", "eth2");
  assert.deepEqual(host.routers, { eth0: "1 2", eth1: "0 1", eth2: "1 0" });
  await host.answer("eth0", "eth1");
  assert.deepEqual(host.routers, { eth0: "1 2", eth1: "1 2", eth2: "0 0" });
});

test("each device is what it was when the last floating address on its link goes", async () => {
  using host = new Host();
  await host.answer("eth0", "eth1", "eth2");
  await host.answer("eth1");
  assert.deepEqual(host.routers, { eth0: "0 1", eth1: "1 2", eth2: "0 0" });
  assert.ok((await host.answer()).writes > 0);
  assert.deepEqual(host.routers, { eth0: "0 1", eth1: "0 1", eth2: "0 0" });
  assert.equal((await host.answer()).writes, 0);
});

test("a device that forwards by then for another reason goes on obeying router advertisements", async () => {
  using host = new Host();
  await host.answer("eth0");
  // What uplinks switch on where interfaces have no switch of their own.
  host.set("all/forwarding", "1");
  await host.answer();
  assert.equal(host.routers.eth0, "1 2");
  using other = new Host();
  await other.answer("eth0");
  other.set("eth0/forwarding", "0");
  await other.answer();
  assert.equal(other.routers.eth0, "0 1");
});

test("what an earlier run left switched on is counted among the writes when it is taken back", async () => {
  using host = new Host();
  const { side } = host;
  const [eth0] = await side.socket.dump(listLinks()).then((links) => links.filter(({ name }) => name === "eth0"));
  assert.ok(eth0 !== undefined);
  await ensureAnswers(side, new Map([[ip("2001:db8::50"), eth0.index]]), [], [eth0]);
  assert.equal(host.routers.eth0, "1 2");
  assert.ok((await removeLeftoverUplinks("weft", () => new Set(["blue"]), side)) > 0);
  assert.equal(host.routers.eth0, "0 1");
});
