import assert from "node:assert/strict";
import { it } from "node:test";
import fc from "fast-check";
import { type IpAddress, ip } from "../base/ip.ts";
import { type MacAddress, mac } from "../base/mac.ts";
import { Marked, networkSettings, placeIn } from "../testing/desired.ts";
import { DesiredNetwork, type LocalEndpoint } from "./desired.ts";
import type { RemoteEndpoint } from "./remote-endpoints.ts";

const settings = networkSettings();
const remote = (id: number, macNumber: number, ips: readonly number[], vtep: number): RemoteEndpoint => ({
  id: `e${id}`,
  mac: mac(`02:00:00:00:00:0${macNumber}`),
  ips: ips.map((number) => ip(`10.0.0.${number}`)),
  source: { name: "server", node: `h${vtep}` },
  vtep: ip(`192.0.2.${vtep}`),
});
const local = (id: number): LocalEndpoint => ({
  id: `e${id}`,
  mac: mac(`02:00:00:00:01:0${id}`),
  addresses: [],
  place: placeIn("/run/netns/c"),
});

/** An endpoint with a port here that has a MAC of those of remote ones: its own, or another's. */
const moving = (id: number, macNumber: number): LocalEndpoint => ({
  ...local(id),
  mac: remote(id, macNumber, [], 1).mac,
});

type Step =
  | { readonly kind: "remote"; readonly endpoint: RemoteEndpoint }
  | { readonly kind: "local"; readonly endpoint: LocalEndpoint }
  | { readonly kind: "remove" | "remove-remote" | "remove-local"; readonly id: string };

const number = fc.integer({ min: 1, max: 4 });
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    fc
      .tuple(number, number, fc.uniqueArray(number, { maxLength: 2 }), number)
      .map(([id, macNumber, ips, vtep]): Step => ({ kind: "remote", endpoint: remote(id, macNumber, ips, vtep) })),
    fc.tuple(number, number).map(([id, macNumber]): Step => ({ kind: "local", endpoint: moving(id, macNumber) })),
    fc
      .tuple(fc.constantFrom("remove" as const, "remove-remote" as const, "remove-local" as const), number)
      .map(([kind, id]): Step => ({ kind, id: `e${id}` })),
  ),
  { maxLength: 30 },
);

/** The endpoints and nothing else: tables follow from them. */
class Model {
  readonly remotes = new Map<string, RemoteEndpoint>();
  readonly locals = new Map<string, LocalEndpoint>();

  /** Endpoints here whose MAC another port here has: the server lets no two have one. */
  sharing({ id, mac }: LocalEndpoint): string[] {
    return [...this.locals.values()].filter((other) => other.id !== id && other.mac === mac).map((other) => other.id);
  }

  /** Endpoints whose MAC or address the new one has: the server tells of their end after it. */
  replacedBy(endpoint: RemoteEndpoint): string[] {
    return [...this.remotes.values()]
      .filter((other) => other.id !== endpoint.id)
      .filter((other) => other.mac === endpoint.mac || other.ips.some((each) => endpoint.ips.includes(each)))
      .map((other) => other.id);
  }

  macs(): Map<MacAddress, RemoteEndpoint> {
    return new Map([...this.remotes.values()].map((endpoint) => [endpoint.mac, endpoint]));
  }

  ips(): Map<IpAddress, RemoteEndpoint> {
    return new Map([...this.remotes.values()].flatMap((endpoint) => endpoint.ips.map((each) => [each, endpoint])));
  }

  /** Ports here at which the bridge has the MAC. */
  ports(): Map<string, LocalEndpoint> {
    const elsewhere = this.macs();
    return new Map([...this.locals].filter(([, { mac }]) => !elsewhere.has(mac)));
  }

  vteps(): IpAddress[] {
    return [...new Set([...this.remotes.values()].map((endpoint) => endpoint.vtep))].sort();
  }
}

function perform(step: Step, network: DesiredNetwork, model: Model): void {
  switch (step.kind) {
    case "remote":
      network.putRemote(step.endpoint);
      for (const id of model.replacedBy(step.endpoint)) {
        network.removeRemote(id);
        model.remotes.delete(id);
      }
      model.remotes.set(step.endpoint.id, step.endpoint);
      break;
    case "local":
      for (const id of model.sharing(step.endpoint)) {
        network.removeLocal(id);
        model.locals.delete(id);
      }
      network.putLocal(step.endpoint);
      model.locals.set(step.endpoint.id, step.endpoint);
      break;
    case "remove":
      network.remove(step.id);
      model.remotes.delete(step.id);
      model.locals.delete(step.id);
      break;
    case "remove-remote":
      network.removeRemote(step.id);
      model.remotes.delete(step.id);
      break;
    case "remove-local":
      network.removeLocal(step.id);
      model.locals.delete(step.id);
      break;
  }
}

function changedKeys<Key, Value>(before: ReadonlyMap<Key, Value>, after: ReadonlyMap<Key, Value>): Key[] {
  return [...new Set([...before.keys(), ...after.keys()])].filter((key) => before.get(key) !== after.get(key));
}

it("has the tables that follow from its endpoints, whatever came and went in whatever order", () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const network = new DesiredNetwork(settings);
      const model = new Model();
      for (const step of sequence) {
        perform(step, network, model);
        assert.deepEqual(new Map([...network.remotes.values()].map((each) => [each.id, each])), model.remotes);
        assert.deepEqual(network.locals, model.locals);
        assert.deepEqual(new Map(network.remotesByMac), model.macs());
        for (const [id, { mac }] of model.locals) assert.equal(network.isElsewhere(mac), !model.ports().has(id));
        assert.deepEqual(new Map(network.remotesByIp), model.ips());
        assert.deepEqual([...network.remoteVteps].sort(), model.vteps());
      }
    }),
  );
});

it("marks every row, port and flood entry that a sequence of changes touched", () => {
  fc.assert(
    fc.property(steps, steps, (first, second) => {
      const network = new DesiredNetwork(settings);
      const model = new Model();
      for (const step of first) perform(step, network, model);
      const marked = new Marked(network);
      const [macs, ips, vteps, locals] = [model.macs(), model.ips(), model.vteps(), new Map(model.locals)];
      const ports = model.ports();
      for (const step of second) perform(step, network, model);
      for (const key of changedKeys(macs, model.macs())) assert.ok(marked.macs.has(key), key);
      for (const key of changedKeys(ips, model.ips())) assert.ok(marked.ips.has(key), key);
      for (const id of changedKeys(locals, model.locals)) assert.ok(marked.ports.has(id), id);
      for (const id of model.ports().keys()) assert.ok(ports.has(id) || marked.ports.has(id), id);
      const isIn = (list: readonly string[], vtep: string): boolean => list.includes(vtep);
      for (const vtep of new Set([...vteps, ...model.vteps()]))
        if (isIn(vteps, vtep) !== isIn(model.vteps(), vtep))
          assert.ok(marked.floods.has(vtep) && marked.peers.has(vtep), vtep);
    }),
  );
});

it("knows its own endpoints by address where it resolves or suppresses, whoever had the address before", () => {
  const network = new DesiredNetwork(settings);
  const here = (id: number, ...numbers: number[]): LocalEndpoint => ({
    ...local(id),
    addresses: numbers.map((last) => ({ address: ip(`10.0.0.${last}`), prefixLength: 24 })),
  });
  const macs = (): (string | undefined)[] =>
    [1, 2, 3].map((last) => network.neighbourMac(ip(`10.0.0.${last}`))?.slice(-5));
  network.putRemote(remote(1, 1, [1, 2], 2));
  network.putLocal(here(2, 2, 3));
  assert.deepEqual(macs(), ["00:01", "01:02", "01:02"]);
  // The next owner is told of before the end of the one before.
  network.putLocal(here(3, 3));
  network.removeLocal("e2");
  assert.deepEqual(macs(), ["00:01", "00:01", "01:03"]);
  const marked = new Marked(network);
  network.setSettings({ ...settings, arpSuppression: false });
  assert.deepEqual(macs(), ["00:01", "00:01", undefined]);
  assert.deepEqual([...marked.ips], [ip("10.0.0.3")]);
  network.setSettings({
    ...settings,
    arpSuppression: false,
    gateways: [{ address: ip("10.0.0.9"), prefixLength: 24 }],
  });
  assert.deepEqual(macs(), ["00:01", "00:01", "01:03"]);
});

it("keeps the first MAC that an address lost, whichever of its owners it goes from and to", () => {
  const network = new DesiredNetwork(settings);
  const here = { ...local(3), addresses: [{ address: ip("10.0.0.1"), prefixLength: 24 }] };
  const former = () => [...network.formerMacs].map(([address, lost]) => `${address} ${lost.slice(-5)}`);
  network.putRemote(remote(1, 1, [1, 2], 2));
  assert.deepEqual(former(), [], "it had none before");
  network.putLocal(here);
  network.removeRemote("e1");
  assert.deepEqual(former(), ["10.0.0.1 00:01", "10.0.0.2 00:01"]);
  network.formerMacs.clear();
  network.putRemote(remote(2, 2, [1], 2));
  network.removeLocal("e3");
  assert.deepEqual(former(), ["10.0.0.1 01:03"]);
  network.formerMacs.clear();
  network.putLocal({ ...here, addresses: [], learnedIps: [ip("10.0.0.8")] });
  network.putLocal({ ...here, addresses: [], learnedIps: [ip("10.0.0.8"), ip("10.0.0.9")] });
  assert.deepEqual(former(), []);
  network.putLocal({ ...here, addresses: [] });
  assert.deepEqual(former(), ["10.0.0.8 01:03", "10.0.0.9 01:03"]);
  network.formerMacs.clear();
  network.setSettings({ ...settings, mode: "l3" });
  network.removeRemote("e2");
  assert.deepEqual(former(), []);
});

it("floods to all peers, or to those alone that are listed where the network wants that, and marks what changes", () => {
  const [listed, other, behind] = [ip("192.0.2.7"), ip("192.0.2.8"), ip("192.0.2.2")];
  const network = new DesiredNetwork(settings);
  network.putRemote(remote(1, 1, [1], 2));
  const marked = new Marked(network);
  network.setListed([listed, settings.localVtep]);
  assert.deepEqual(network.floodList, [behind, listed]);
  assert.deepEqual([...network.peers], [behind, listed]);
  assert.deepEqual([[...marked.peers], [...marked.floods]], [[listed], [listed]]);
  network.setSettings({ ...settings, flood: "listed" });
  assert.deepEqual(network.floodList, [listed]);
  assert.ok(network.floodsTo(listed) && !network.floodsTo(behind) && network.hasPeer(listed));
  marked.floods.clear();
  network.setListed([other, behind]);
  assert.deepEqual(network.floodList, [behind, other]);
  assert.deepEqual([...marked.floods].sort(), [behind, listed, other]);
  assert.ok(marked.peers.has(other));
});

it("has the frames of an endpoint that moves where its place is, and at its port as soon as that is all there is", () => {
  const network = new DesiredNetwork(settings);
  network.putRemote(remote(1, 1, [1], 2));
  network.putLocal(moving(1, 1));
  assert.ok(network.local("e1") !== undefined && network.remote("e1") !== undefined);
  assert.equal(network.isElsewhere(moving(1, 1).mac), true);
  const marked = new Marked(network);
  network.removeRemote("e1");
  assert.equal(network.isElsewhere(moving(1, 1).mac), false);
  assert.deepEqual([...marked.ports], ["e1"]);
  // And the other way.
  network.putRemote(remote(1, 1, [1], 3));
  network.removeLocal("e1");
  assert.equal(network.remote("e1")?.vtep, "192.0.2.3");
});

it("marks devices after a change of settings", () => {
  const network = new DesiredNetwork(settings);
  const marked = new Marked(network);
  network.setSettings({ ...settings, mtu: 1400 });
  assert.ok(marked.hasOtherSettings);
  assert.equal(network.settings.mtu, 1400);
});

it("marks all rows when tunnels are others, and all that lead to a VTEP when asked to", () => {
  const network = new DesiredNetwork(settings);
  network.putRemote(remote(1, 1, [1, 2], 2));
  network.putRemote(remote(3, 3, [3], 3));
  const towards = new Marked(network);
  network.markRowsTo(new Set([ip("192.0.2.3")]));
  assert.deepEqual([...towards.macs], [mac("02:00:00:00:00:03")]);
  const all = new Marked(network);
  network.setSettings({ ...settings, transport: { encapsulation: "geneve", port: 6081 } });
  assert.deepEqual([...all.macs], [mac("02:00:00:00:00:01"), mac("02:00:00:00:00:03")]);
  assert.deepEqual([...all.ips], [ip("10.0.0.1"), ip("10.0.0.2"), ip("10.0.0.3")]);
});

it("wants no IPv6 neighbours where the MTU is too small for IPv6", () => {
  const network = new DesiredNetwork(settings);
  network.putRemote({ ...remote(1, 1, [1], 2), ips: [ip("10.0.0.1"), ip("fd00::1")] });
  assert.deepEqual([...network.neighbourIps()], [ip("10.0.0.1"), ip("fd00::1")]);
  const marked = new Marked(network);
  network.setSettings({ ...settings, mtu: 1270 });
  assert.deepEqual([...network.neighbourIps()], [ip("10.0.0.1")]);
  assert.ok(marked.ips.has(ip("fd00::1")));
});
