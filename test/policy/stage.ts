import { fileURLToPath } from "node:url";
import { systemClock } from "../../src/base/clock.ts";
import { type IpAddress, ip } from "../../src/base/ip.ts";
import { mac } from "../../src/base/mac.ts";
import { unwrap } from "../../src/base/result.ts";
import { type DataplaneEvent, type NetworkSettings, NodeDataplane } from "../../src/dataplane/index.ts";
import { linuxKernel } from "../../src/dataplane/linux-kernel.ts";
import type { TenantPolicy } from "../../src/dataplane/policy/tenant-policy.ts";
import { deleteNamedNamespace } from "../../src/linux/index.ts";
import type { Vni } from "../../src/model/index.ts";
import { type Labels, type Policy, parsePolicy } from "../../src/model/policy/index.ts";
import { parseNetwork } from "../../src/model/schema.ts";
import { explainPolicy } from "../../src/server/explain-policy.ts";
import { networkSettings, placeIn } from "../../src/testing/desired.ts";
import { serverState } from "../../src/testing/server-state.ts";
import { BackgroundProgram } from "../support/cluster.ts";
import { type TestNamespace, testNamespace } from "../support/namespaces.ts";
import { eventually, makeUnderlay, settled } from "../support/underlay.ts";
import type { Answer, Command } from "./party.ts";

/** One endpoint. */
export interface Party {
  readonly name: string;
  readonly id: string;
  readonly node: number;
  readonly labels: Labels;
  readonly ipv4: IpAddress;
  readonly ipv6: IpAddress;
}

/** Where each of them answers. */
const listeningPorts = [80, 81, 40_000] as const;

const tenant = "blue";
const network = "blue-net";
const program = fileURLToPath(new URL("party.ts", import.meta.url));

/** Programs end with the namespaces that they are in. */
const noOwner = { after: () => {} };

/** Two nodes with one network, whose endpoints talk by real sockets. */
export class PolicyStage {
  readonly underlay = makeUnderlay(2);
  readonly events: DataplaneEvent[] = [];
  readonly parties: readonly Party[];
  dataplanes: NodeDataplane[] = [];
  readonly #instance: string;
  readonly #containers = new Map<string, TestNamespace>();
  readonly #programs = new Map<string, PartyProgram>();
  readonly #policies = new Map<string, Policy>();
  #labels = new Map<string, Labels>();
  #changes: Partial<NetworkSettings>;
  #lastId = 0;

  private constructor(
    label: string,
    parties: readonly Pick<Party, "name" | "node" | "labels">[],
    changes: Partial<NetworkSettings>,
  ) {
    this.#instance = `${label}${process.pid}n`;
    this.#changes = changes;
    this.parties = parties.map((party, index) => ({
      ...party,
      id: `0000000000${(index + 16).toString(16)}`,
      ipv4: ip(`10.0.0.${index + 1}`),
      ipv6: ip(`fd00::${(index + 1).toString(16)}`),
    }));
    for (const { name, labels } of this.parties) this.#labels.set(name, labels);
  }

  static async make(
    label: string,
    parties: readonly Pick<Party, "name" | "node" | "labels">[],
    changes: Partial<NetworkSettings> = {},
  ): Promise<PolicyStage> {
    const stage = new PolicyStage(label, parties, changes);
    for (const { name } of stage.parties) stage.#containers.set(name, testNamespace(name.replace("/", "-")));
    for (const node of [1, 2]) stage.dataplanes.push(await stage.startNode(node));
    for (const { name } of stage.parties) {
      const { namespace } = stage.container(name);
      const ports = listeningPorts.map(String);
      stage.#programs.set(
        name,
        new PartyProgram(new BackgroundProgram(noOwner, namespace, process.execPath, [program, ...ports])),
      );
    }
    for (const { process } of stage.#programs.values()) await process.said(/ready/);
    return stage;
  }

  party(name: string): Party {
    const party = this.parties.find((each) => each.name === name);
    if (party === undefined) throw new RangeError(`no party ${name}`);
    return { ...party, labels: this.#labels.get(name) ?? {} };
  }

  container(name: string): TestNamespace {
    return this.#containers.get(name) as TestNamespace;
  }

  get policies(): readonly Policy[] {
    return [...this.#policies.values()];
  }

  get settings(): NetworkSettings {
    return networkSettings({ vni: 4244 as Vni, ...this.#changes });
  }

  tenantName(node: number): string {
    return `${this.#instance}${node}-${tenant}`;
  }

  async startNode(node: number): Promise<NodeDataplane> {
    const host = this.underlay.hosts[node - 1] as TestNamespace;
    const dataplane = new NodeDataplane({
      kernel: linuxKernel,
      instance: `${this.#instance}${node}`,
      underlay: host.kernel,
      clock: systemClock,
      report: (event) => this.events.push(event),
    });
    await dataplane.setUnderlay([ip(`10.99.0.${node}`)], undefined);
    dataplane.putNetwork({ ...this.settings, localVtep: ip(`10.99.0.${node}`) });
    for (const { name } of this.parties) this.#put(dataplane, node, name);
    for (const policy of this.policies) dataplane.policies.put(policy);
    await dataplane.start();
    await settled(dataplane);
    return dataplane;
  }

  /** From now on these hold, and no others. */
  async setPolicies(...drafts: readonly object[]): Promise<void> {
    const policies = drafts.map((draft, index) => {
      const parsed = parsePolicy({ name: `policy-${index + 1}`, tenant, ...draft });
      if (!parsed.ok) throw new TypeError(JSON.stringify(parsed.error));
      return parsed.value;
    });
    for (const name of this.#policies.keys()) for (const { policies: of } of this.dataplanes) of.remove(name);
    this.#policies.clear();
    for (const policy of policies) {
      this.#policies.set(policy.name, policy);
      for (const { policies: of } of this.dataplanes) of.put(policy);
    }
    await this.changed();
  }

  async setLabels(name: string, labels: Labels): Promise<void> {
    this.#labels.set(name, labels);
    for (const [index, dataplane] of this.dataplanes.entries()) this.#put(dataplane, index + 1, name);
    await this.changed();
  }

  async setSettings(changes: Partial<NetworkSettings>): Promise<void> {
    this.#changes = { ...this.#changes, ...changes };
    for (const [index, dataplane] of this.dataplanes.entries())
      dataplane.putNetwork({ ...this.settings, localVtep: ip(`10.99.0.${index + 1}`) });
    await this.changed();
  }

  async changed(): Promise<void> {
    for (const dataplane of this.dataplanes) {
      await dataplane.changed();
      await settled(dataplane);
    }
  }

  /** Whether somebody reaches another at a port: a real connection, or a datagram that is answered. */
  async reaches(from: string, to: string, protocol: "tcp" | "udp", port: number, family: 4 | 6 = 4): Promise<boolean> {
    // What the kernels of both send by themselves is denied at times, and counted alike: what is not for them to say is denied again.
    for (let attempt = 0; attempt < 2; attempt++) {
      const talk = await this.open(from, to, protocol, port, family);
      await talk.end();
      if (talk.isOpen) return true;
    }
    return false;
  }

  /** Begins to talk, and waits until that came about or was denied. */
  async open(
    from: string,
    to: string,
    protocol: "tcp" | "udp",
    port: number,
    family: 4 | 6 = 4,
    localPort?: number,
  ): Promise<Talk> {
    const { ipv4, ipv6 } = this.party(to);
    const id = ++this.#lastId;
    const program = this.#programs.get(from) as PartyProgram;
    const address = family === 4 ? ipv4 : ipv6;
    const isDenied = this.#watchDenied(from, to);
    const talk = new Talk(program, id, isDenied);
    talk.do({
      do: protocol === "tcp" ? "open" : "ask",
      id,
      address,
      port,
      ...(localPort === undefined ? {} : { from: localPort }),
    });
    await talk.settled();
    return talk;
  }

  /** Whether the server explains that it reaches it. Each is a party, or an address. */
  explains(
    from: string,
    to: string,
    said: { readonly protocol: string; readonly port?: number },
    family: 4 | 6 = 4,
  ): boolean {
    const { gateways, policyDefault, subnets, vni } = this.settings;
    const addresses = gateways.map(({ address }) => address);
    const state = serverState({
      networks: [
        unwrap(
          parseNetwork({
            name: network,
            tenant,
            vni,
            subnets,
            policyDefault,
            ...(addresses.length === 0 ? {} : { gateway: "distributed", gateways: addresses }),
          }),
        ),
      ],
      endpoints: this.parties.map(({ name }) => {
        const { id, node, ipv4, ipv6, labels } = this.party(name);
        return { id, network, node: `n${node}`, ips: [ipv4, ipv6], labels };
      }),
      policies: this.policies,
    });
    const meant = (name: string): string => {
      const party = this.parties.find((each) => each.name === name);
      return party === undefined ? name : `${network}/${family === 4 ? party.ipv4 : party.ipv6}`;
    };
    return explainPolicy(state, { from: meant(from), to: meant(to), ...said }).verdict === "allow";
  }

  /** What a node has of policies in its kernel. */
  policyOf(node: number): TenantPolicy {
    const { dataplane } = this.dataplanes[node - 1]?.network(network) ?? {};
    if (dataplane === undefined) throw new RangeError(`node ${node} has no network`);
    return dataplane.policy;
  }

  /** What policies dropped of a party, both directions together. */
  denied(name: string): number {
    const { node, id } = this.party(name);
    const dropped = this.dataplanes[node - 1]?.droppedOf(network, id) ?? {};
    return (dropped["policy-ingress"] ?? 0) + (dropped["policy-egress"] ?? 0);
  }

  #watchDenied(...names: readonly string[]): () => boolean {
    const sum = (): number => names.reduce((total, name) => total + this.denied(name), 0);
    const before = sum();
    return () => sum() > before;
  }

  async close(): Promise<void> {
    for (const each of this.#programs.values()) await each.process.end("SIGKILL");
    for (const dataplane of this.dataplanes) await dataplane.close();
    for (const node of [1, 2]) deleteNamedNamespace(this.tenantName(node));
    for (const container of this.#containers.values()) container[Symbol.dispose]();
    this.underlay[Symbol.dispose]();
  }

  #put(dataplane: NodeDataplane, node: number, name: string): void {
    const { id, node: own, labels, ipv4, ipv6 } = this.party(name);
    const desired = dataplane.networks.get(network);
    const address = mac(`02:bb:00:00:00:${id.slice(-2)}`);
    if (own === node)
      desired?.putLocal({
        id,
        mac: address,
        labels,
        addresses: [
          { address: ipv4, prefixLength: 24 },
          { address: ipv6, prefixLength: 64 },
        ],
        place: placeIn(`/run/netns/${this.container(name).name}`),
      });
    else {
      const vtep = ip(`10.99.0.${own}`);
      desired?.putRemote({ id, mac: address, ips: [ipv4, ipv6], source: { name: "server", node: `n${own}` }, vtep });
    }
    dataplane.policies.putMember({ id, tenant, network, ips: [ipv4, ipv6], labels });
  }
}

/** What a party has answered so far. */
class PartyProgram {
  readonly process: BackgroundProgram;
  readonly #answers = new Map<number, Answer["is"][]>();
  #read = 0;

  constructor(process: BackgroundProgram) {
    this.process = process;
  }

  answersTo(id: number): readonly Answer["is"][] {
    const { output } = this.process;
    for (let end = output.indexOf("\n", this.#read); end >= 0; end = output.indexOf("\n", this.#read)) {
      const line = output.slice(this.#read, end);
      this.#read = end + 1;
      if (!line.startsWith("{")) continue;
      const { id: of, is } = JSON.parse(line) as Answer;
      this.#answers.set(of, [...(this.#answers.get(of) ?? []), is]);
    }
    return this.#answers.get(id) ?? [];
  }
}

/** A connection, or a series of datagrams. */
export class Talk {
  readonly #program: PartyProgram;
  readonly #id: number;
  readonly #isDenied: () => boolean;
  #heard = 0;

  constructor(program: PartyProgram, id: number, isDenied: () => boolean) {
    this.#program = program;
    this.#id = id;
    this.#isDenied = isDenied;
  }

  do(command: Command): void {
    this.#program.process.say(JSON.stringify(command));
  }

  get isOpen(): boolean {
    return this.#count("open") + this.#count("heard") > 0;
  }

  /** Nobody is there, or it was reset. */
  get hasFailed(): boolean {
    return this.#count("failed") > 0;
  }

  /** It has come about, was denied, or failed. */
  async settled(): Promise<void> {
    await soon("a connection is open, or denied", () => this.isOpen || this.hasFailed || this.#isDenied());
    this.#heard = this.#count("heard");
  }

  /** Sends something more. */
  say(): void {
    this.#heard = this.#count("heard");
    this.do({ do: "say", id: this.#id });
  }

  /** What was said last has been answered. */
  get isHeard(): boolean {
    return this.#count("heard") > this.#heard;
  }

  /** Nothing of it is sent any more, nor sent again. */
  async end(): Promise<void> {
    this.do({ do: "end", id: this.#id });
    await soon("a connection has ended", () => this.#count("ended") > 0);
  }

  #count(is: Answer["is"]): number {
    return this.#program.answersTo(this.#id).filter((each) => each === is).length;
  }
}

/** {@link eventually} of what takes less than the pauses of that. */
async function soon(what: string, condition: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    if (condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await eventually(what, condition);
}
