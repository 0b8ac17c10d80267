import assert from "node:assert/strict";
import { it } from "node:test";
import { ManualClock } from "../../base/clock.ts";
import { milliseconds } from "../../base/duration.ts";
import { type IpAddress, ip } from "../../base/ip.ts";
import {
  deleteNexthop,
  listFdbEntries,
  NetlinkSocket,
  type Nexthop,
  RTM_DELNEXTHOP,
  RTM_NEWNEXTHOP,
  readNexthop,
  replaceNexthop,
} from "../../netlink/index.ts";
import { NLM_F_DUMP, NLM_F_EXCL } from "../../netlink/message.ts";
import { networkSettings } from "../../testing/desired.ts";
import { type FakeHandler, FakeKernel } from "../../testing/fake-kernel.ts";
import { putRemote, vtep } from "../../testing/scenarios.ts";
import { Scene } from "../../testing/scene.ts";
import { nexthopRange, weftProtocol } from "../kernel-names.ts";
import { nameOfObject } from "../objects.ts";
import { VtepNexthops } from "./vtep-nexthops.ts";

const instance = "weft";
const { first } = nexthopRange(instance);
const [one, two, three] = [ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::3")];
const [ENOENT, EEXIST, EINVAL, ENOSPC] = [2, 17, 22, 28];
const RTM_GETNEXTHOP = 106;

/** The nexthops of a kernel: a group needs its member, and goes with it. */
class Nexthops {
  readonly held = new Map<number, Nexthop>();
  readonly kernel = new FakeKernel({ handlers: [(request) => this.#handle(request)] });
  readonly socket = new NetlinkSocket({ channel: this.kernel });
  readonly clock = new ManualClock();

  /** An agent's, as it starts. */
  open(): VtepNexthops {
    return new VtepNexthops({ instance, socket: this.socket, clock: this.clock });
  }

  put(...nexthops: readonly Nexthop[]): void {
    for (const nexthop of nexthops) this.held.set(nexthop.id, nexthop);
  }

  /** The VTEP behind a group. */
  vtepOf(group: number | undefined): string | undefined {
    const member = this.held.get(group ?? 0)?.group?.[0]?.id;
    return this.held.get(member ?? 0)?.gateway;
  }

  get text(): string[] {
    return [...this.held.values()].map(({ id, gateway, group }) =>
      gateway === undefined ? `${id - first} group ${(group?.[0]?.id ?? 0) - first}` : `${id - first} via ${gateway}`,
    );
  }

  #handle({ type, flags, payload }: Parameters<FakeHandler>[0]): ReturnType<FakeHandler> {
    if ((flags & NLM_F_DUMP) === NLM_F_DUMP)
      return {
        messages: Array.from(this.held.values(), (nexthop) => ({
          type: RTM_NEWNEXTHOP,
          write: replaceNexthop(nexthop).write,
        })),
      };
    const nexthop = readNexthop(payload, new DataView(payload.buffer, payload.byteOffset), 0, payload.length);
    assert.ok(nexthop !== undefined);
    if (type === RTM_GETNEXTHOP) {
      const held = this.held.get(nexthop.id);
      if (held === undefined) return { errno: ENOENT };
      return { messages: [{ type: RTM_NEWNEXTHOP, write: replaceNexthop(held).write }] };
    }
    if (type !== RTM_DELNEXTHOP) {
      if ((flags & NLM_F_EXCL) !== 0 && this.held.has(nexthop.id)) return { errno: EEXIST };
      if (nexthop.group?.some(({ id }) => !this.held.has(id))) return { errno: EINVAL };
      this.put(nexthop);
      return {};
    }
    if (!this.held.delete(nexthop.id)) return { errno: ENOENT };
    for (const { id, group } of [...this.held.values()])
      if (group?.every((member) => member.id === nexthop.id)) this.held.delete(id);
    return {};
  }
}

async function running(...vteps: readonly IpAddress[]): Promise<{ kernel: Nexthops; nexthops: VtepNexthops }> {
  const kernel = new Nexthops();
  const nexthops = kernel.open();
  assert.deepEqual(await nexthops.add(vteps), new Set());
  return { kernel, nexthops };
}

it("makes a nexthop and a group with it alone for each VTEP, and nothing the second time", async () => {
  const { kernel, nexthops } = await running(one, three);
  assert.deepEqual(kernel.text, [`0 via ${one}`, `2 via ${three}`, "1 group 0", "3 group 2"]);
  for (const vtep of [one, three]) {
    assert.equal(kernel.vtepOf(nexthops.groupOf(vtep)), vtep);
    assert.equal(nexthops.vtepOf(nexthops.groupOf(vtep) ?? 0), vtep);
  }
  assert.equal(nexthops.groupOf(two), undefined);
  for (const { protocol, fdb } of kernel.held.values())
    assert.deepEqual({ protocol, fdb }, { protocol: weftProtocol, fdb: true });
  const { writes } = kernel.socket;
  nexthops.distrust();
  await nexthops.add([one, three]);
  assert.equal(kernel.socket.writes, writes);
});

it("takes up after a restart what the kernel has", async () => {
  const { kernel, nexthops } = await running(one, two);
  const { writes } = kernel.socket;
  const again = kernel.open();
  await again.add([one, two]);
  assert.equal(kernel.socket.writes, writes);
  for (const vtep of [one, two]) assert.equal(again.groupOf(vtep), nexthops.groupOf(vtep));
  assert.deepEqual(await again.add([one, two, three]), new Set());
  for (const vtep of [one, two, three]) assert.equal(kernel.vtepOf(again.groupOf(vtep)), vtep);
});

for (const told of ["by an event", "by the next comparison"])
  it(`sets a nexthop again that somebody removed or pointed elsewhere, under the same numbers, found ${told}`, async () => {
    for (const damage of ["removed", "pointed elsewhere"]) {
      const { kernel, nexthops } = await running(one, two);
      const group = nexthops.groupOf(two) ?? 0;
      const hop = kernel.held.get(kernel.held.get(group)?.group?.[0]?.id ?? 0) as Nexthop;
      const member = kernel.held.get(group) as Nexthop;
      const elsewhere = { ...hop, gateway: ip("192.0.2.77") };
      if (damage === "removed") await kernel.socket.execute(deleteNexthop(hop.id));
      else kernel.put(elsewhere);
      if (told !== "by an event") nexthops.distrust();
      else if (damage === "removed") {
        assert.ok(nexthops.observe(member, true));
        assert.ok(nexthops.observe(hop, true));
      } else assert.ok(nexthops.observe(elsewhere, false));
      assert.deepEqual(await nexthops.add([one, two]), new Set([two]), damage);
      assert.equal(nexthops.groupOf(two), group);
      assert.equal(kernel.vtepOf(group), two);
    }
  });

it("does not take a group for its own that somebody gave another member", async () => {
  const { kernel, nexthops } = await running(one, two);
  const group = nexthops.groupOf(one) ?? 0;
  const other = kernel.held.get(nexthops.groupOf(two) ?? 0)?.group?.[0]?.id ?? 0;
  kernel.put({ ...(kernel.held.get(group) as Nexthop), group: [{ id: other, weight: 1 }] });
  nexthops.distrust();
  assert.deepEqual(await nexthops.add([one, two]), new Set([one]));
  assert.equal(kernel.vtepOf(group), one);
});

it("hears its own writes without taking them for damage", async () => {
  const { kernel, nexthops } = await running(one);
  for (const nexthop of kernel.held.values()) assert.ok(!nexthops.observe(nexthop, false));
});

it("removes what no longer serves, and leaves what others made", async () => {
  const { kernel, nexthops } = await running(one, two);
  const foreign: Nexthop[] = [
    { id: 7, protocol: weftProtocol, fdb: true, gateway: two },
    { id: first + 4_000, protocol: 4, fdb: true, gateway: two },
  ];
  kernel.put(...foreign);
  await nexthops.keepOnly(new Set([one]));
  assert.equal(kernel.vtepOf(nexthops.groupOf(one)), one);
  assert.equal(nexthops.groupOf(two), undefined);
  assert.deepEqual(
    [...kernel.held.keys()].slice(2),
    foreign.map(({ id }) => id),
  );
});

it("removes half of a VTEP that an earlier run left", async () => {
  const { kernel } = await running(one);
  kernel.put({ id: first + 50, protocol: weftProtocol, fdb: true, gateway: two });
  const again = kernel.open();
  await again.add([one]);
  assert.deepEqual(kernel.text, [`0 via ${one}`, "1 group 0"]);
});

it("uses no number that something in the kernel has, whosever it is", async () => {
  const { kernel } = await running(one);
  const foreign: Nexthop = { id: first + 2, protocol: 4, fdb: true, gateway: three };
  kernel.put(foreign);
  const again = kernel.open();
  await again.add([one, two]);
  assert.deepEqual(kernel.held.get(foreign.id), foreign);
  assert.equal(kernel.vtepOf(again.groupOf(one)), one);
  assert.equal(kernel.vtepOf(again.groupOf(two)), two);
});

for (const told of ["by an event", "by nobody"])
  it(`uses no number that somebody took later, told ${told}`, async () => {
    const { kernel, nexthops } = await running(one);
    const foreign = [2, 5].map((number): Nexthop => ({ id: first + number, protocol: 4, fdb: true, gateway: three }));
    kernel.put(...foreign);
    if (told === "by an event") for (const each of foreign) assert.ok(!nexthops.observe(each, false));
    assert.deepEqual(await nexthops.add([one, two]), new Set());
    for (const each of foreign) assert.deepEqual(kernel.held.get(each.id), each);
    for (const vtep of [one, two]) assert.equal(kernel.vtepOf(nexthops.groupOf(vtep)), vtep);
    // One that is free again is used when its turn comes, and what somebody else has is not taken away.
    if (told === "by an event") assert.ok(!nexthops.observe(foreign[0] as Nexthop, true));
    await nexthops.keepOnly(new Set());
    assert.deepEqual([...kernel.held.values()], foreign);
    assert.ok(nexthops.isSettled);
  });

for (const told of ["by an event", "by the next comparison"])
  for (const which of ["nexthop", "group"])
    it(`gives a VTEP other numbers where somebody made its ${which} his own, found ${told}`, async () => {
      const { kernel, nexthops } = await running(one, two);
      const group = nexthops.groupOf(two) ?? 0;
      const id = which === "group" ? group : (kernel.held.get(group)?.group?.[0]?.id ?? 0);
      const theirs: Nexthop = { id: 7, protocol: 4, fdb: true, gateway: three };
      const rest = which === "group" ? { group: [{ id: 7, weight: 1 }] } : { gateway: three };
      const foreign: Nexthop = { id, protocol: 4, fdb: true, ...rest };
      kernel.put(theirs, foreign);
      if (told === "by an event") assert.ok(nexthops.observe(foreign, false));
      else nexthops.distrust();
      assert.deepEqual(await nexthops.add([one, two]), new Set([two]));
      assert.deepEqual(kernel.held.get(id), foreign);
      assert.notEqual(nexthops.groupOf(two), group);
      for (const vtep of [one, two]) assert.equal(kernel.vtepOf(nexthops.groupOf(vtep)), vtep);
      assert.ok(nexthops.isSettled);
      assert.deepEqual(await nexthops.add([one, two]), new Set());
      await nexthops.keepOnly(new Set());
      assert.deepEqual(new Map(kernel.held), new Map([theirs, foreign].map((each) => [each.id, each])));
    });

it("knows no group that the kernel refused, and makes it later", async () => {
  const { kernel, nexthops } = await running(one);
  kernel.kernel.inject({ kind: "error", errno: ENOSPC }, { after: 1 });
  await nexthops.add([one, two, three]);
  assert.match(`${[...nexthops.failures.values()][0]?.error.message}`, /ENOSPC/);
  const missing = [two, three].filter((vtep) => nexthops.groupOf(vtep) === undefined);
  assert.equal(missing.length, 1);
  kernel.clock.advance(milliseconds(100));
  await nexthops.add([one, two, three]);
  for (const vtep of [one, two, three]) assert.equal(kernel.vtepOf(nexthops.groupOf(vtep)), vtep);
  assert.equal(nexthops.failures.size, 0);
});

it("says so when all numbers are used", async () => {
  const { nexthops } = await running();
  const vteps = Array.from({ length: 8_192 }, (_, index) => ip(`10.${index >> 8}.${index & 255}.1`));
  await nexthops.add(vteps);
  await assert.rejects(nexthops.add([...vteps, one]), /all 16384 of this instance are in use/);
});

it("leaves a node's nexthops that others made or took, tells of those that were its own, and leads all rows by others", async () => {
  const scene = await Scene.settled((dataplane) => {
    const network = dataplane.putNetwork(networkSettings({}));
    putRemote(network, 10, 2);
  });
  const { nexthops } = scene.machine.host;
  using holder = scene.machine.host.open("of another program");
  using socket = new NetlinkSocket({ channel: holder.openChannel({}) });
  const [hop, group] = nexthops.all.map(({ id }) => id) as [number, number];
  const theirs: Nexthop = { id: group + 1, protocol: 4, fdb: true, gateway: three };
  const taken: Nexthop = { id: hop, protocol: 4, fdb: true, gateway: three };
  const change = async (): Promise<void> => {
    await scene.dataplane.changed();
    await scene.settle();
    const present = new Map(nexthops.all.map((each) => [each.id, each]));
    assert.deepEqual(present.get(theirs.id), theirs);
    const { socket } = scene.dataplane.network("blue-net") ?? assert.fail();
    for (const { nexthop } of await socket.dump(listFdbEntries()))
      if (nexthop !== undefined)
        assert.equal(present.get(present.get(nexthop)?.group?.[0]?.id ?? 0)?.protocol, weftProtocol);
  };
  await socket.execute(replaceNexthop(theirs));
  putRemote(scene.dataplane.networks.get("blue-net") ?? assert.fail(), 11, 3);
  await change();
  assert.deepEqual(scene.events, []);
  await socket.execute(replaceNexthop(taken));
  await scene.turns();
  await change();
  assert.deepEqual(nexthops.get(hop), taken);
  assert.deepEqual(
    scene.events.map(({ kind, object }) => `${kind} ${nameOfObject(object)}`),
    [`repaired nexthop ${vtep(4, 2)}`],
  );
  await scene.dataplane.close();
});
