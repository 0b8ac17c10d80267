import assert from "node:assert/strict";
import { it } from "node:test";
import { ip } from "../base/ip.ts";
import { deleteNexthop, type Nexthop, type Request, RTM_DELNEXTHOP, readNexthop } from "../netlink/index.ts";
import { MessageWriter } from "../netlink/writer.ts";
import { nexthopRange, weftProtocol } from "./ownership.ts";
import { VtepNexthops } from "./vtep-nexthops.ts";

const instance = "weft";
const { first } = nexthopRange(instance);
const [one, two, three] = [ip("192.0.2.1"), ip("192.0.2.2"), ip("2001:db8::3")];

/** Nexthops as the kernel keeps them. */
class Kernel {
  readonly nexthops = new Map<number, Nexthop>();

  get observed(): Nexthop[] {
    return [...this.nexthops.values()];
  }

  apply(requests: readonly Request[]): void {
    for (const request of requests) {
      const nexthop = decode(request);
      if (request.type !== RTM_DELNEXTHOP) {
        for (const { id } of nexthop.group ?? []) assert.ok(this.nexthops.has(id), `member ${id} is there`);
        this.nexthops.set(nexthop.id, nexthop);
        continue;
      }
      assert.ok(this.nexthops.delete(nexthop.id), `${request.describe()}: ENOENT`);
      // A nexthop takes groups along that have no other.
      for (const { id, group } of this.observed)
        if (group?.every((member) => member.id === nexthop.id)) this.nexthops.delete(id);
    }
  }

  /** The VTEP behind a group. */
  vtepOf(group: number | undefined): string | undefined {
    const member = this.nexthops.get(group ?? 0)?.group?.[0]?.id;
    return this.nexthops.get(member ?? 0)?.gateway;
  }
}

function decode(request: Request): Nexthop {
  const writer = new MessageWriter();
  request.write(writer);
  const nexthop = readNexthop(writer.bytes, writer.view, 0, writer.position);
  assert.ok(nexthop !== undefined);
  return nexthop;
}

function running(vteps: readonly (typeof one)[]): { kernel: Kernel; nexthops: VtepNexthops } {
  const kernel = new Kernel();
  const nexthops = new VtepNexthops(instance);
  kernel.apply(nexthops.planAddition(vteps, []).requests);
  return { kernel, nexthops };
}

it("makes a nexthop and a group with it alone for each VTEP, and nothing the second time", () => {
  const { kernel, nexthops } = running([one, three]);
  for (const vtep of [one, three]) assert.equal(kernel.vtepOf(nexthops.groupOf(vtep)), vtep);
  assert.equal(nexthops.groupOf(two), undefined);
  for (const nexthop of kernel.observed) {
    assert.equal(nexthop.protocol, weftProtocol);
    assert.equal(nexthop.fdb, true);
    assert.ok(nexthops.isAsPlanned(nexthop));
  }
  assert.deepEqual(nexthops.planAddition([one, three], kernel.observed), { requests: [], renewed: [] });
});

it("takes up after a restart what the kernel has", () => {
  const { kernel, nexthops } = running([one, two]);
  const again = new VtepNexthops(instance);
  assert.deepEqual(again.planAddition([one, two], kernel.observed).requests, []);
  for (const vtep of [one, two]) assert.equal(again.groupOf(vtep), nexthops.groupOf(vtep));
  const plan = again.planAddition([one, two, three], kernel.observed);
  assert.deepEqual(plan.renewed, [three]);
  kernel.apply(plan.requests);
  for (const vtep of [one, two, three]) assert.equal(kernel.vtepOf(again.groupOf(vtep)), vtep);
});

it("sets a nexthop again that somebody removed or pointed elsewhere, under the same numbers", () => {
  for (const damage of ["removed", "pointed elsewhere"]) {
    const { kernel, nexthops } = running([one, two]);
    const group = nexthops.groupOf(two);
    const id = nexthops.vteps.get(two)?.id ?? 0;
    if (damage === "removed") kernel.apply([deleteNexthop(id)]);
    else kernel.nexthops.set(id, { ...(kernel.nexthops.get(id) as Nexthop), gateway: ip("192.0.2.77") });
    if (damage !== "removed") assert.ok(!nexthops.isAsPlanned(kernel.nexthops.get(id) as Nexthop));
    const plan = nexthops.planAddition([one, two], kernel.observed);
    assert.deepEqual(plan.renewed, [two], damage);
    kernel.apply(plan.requests);
    assert.equal(nexthops.groupOf(two), group);
    assert.equal(kernel.vtepOf(group), two);
  }
});

it("does not take a group for as planned that somebody gave another member", () => {
  const { kernel, nexthops } = running([one, two]);
  const group = nexthops.groupOf(one) ?? 0;
  const other = nexthops.vteps.get(two)?.id ?? 0;
  kernel.nexthops.set(group, { ...(kernel.nexthops.get(group) as Nexthop), group: [{ id: other, weight: 1 }] });
  const plan = nexthops.planAddition([one, two], kernel.observed);
  assert.deepEqual(plan.renewed, [one]);
  kernel.apply(plan.requests);
  assert.equal(kernel.vtepOf(group), one);
});

it("removes what no longer serves, groups first, and leaves what others made", () => {
  const { kernel, nexthops } = running([one, two]);
  const foreign: Nexthop[] = [
    { id: 7, protocol: weftProtocol, gateway: two },
    { id: first + 4_000, protocol: 4, gateway: two },
  ];
  for (const nexthop of foreign) kernel.nexthops.set(nexthop.id, nexthop);
  kernel.apply(nexthops.planRemoval(new Set([one]), kernel.observed));
  assert.equal(kernel.vtepOf(nexthops.groupOf(one)), one);
  assert.equal(nexthops.groupOf(two), undefined);
  assert.equal(kernel.nexthops.size, 2 + foreign.length);
  for (const { id } of foreign) assert.ok(kernel.nexthops.has(id), `${id} stays`);
});

it("removes half of a VTEP that an earlier run left", () => {
  const { kernel } = running([one]);
  kernel.nexthops.set(first + 50, { id: first + 50, protocol: weftProtocol, fdb: true, gateway: two });
  const again = new VtepNexthops(instance);
  again.planAddition([one], kernel.observed);
  const requests = again.planRemoval(new Set([one]), kernel.observed);
  assert.deepEqual(
    requests.map((request) => decode(request).id),
    [first + 50],
  );
});

it("uses no number again that something in the kernel still has", () => {
  const { kernel, nexthops } = running([one]);
  const taken = kernel.observed.map(({ id }) => id);
  const again = new VtepNexthops(instance);
  kernel.apply(again.planAddition([two], kernel.observed).requests);
  assert.ok(!taken.includes(again.groupOf(two) ?? 0));
  assert.equal(kernel.vtepOf(nexthops.groupOf(one)), one);
});

it("says so when all numbers are used", () => {
  const nexthops = new VtepNexthops(instance);
  const vteps = Array.from({ length: 8_192 }, (_, index) => ip(`10.${index >> 8}.${index & 255}.1`));
  nexthops.planAddition(vteps, []);
  assert.throws(() => nexthops.planAddition([...vteps, one], []), /all 16384 of this instance are in use/);
});
