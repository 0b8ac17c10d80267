import { setImmediate as turn } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import { type Cidr, cidrContains, hostPrefix, networkAddress } from "../../base/cidr.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { Vni } from "../../model/index.ts";
import {
  appliesTo,
  type Identity,
  type Policy,
  type PolicyDirection,
  policyDirections,
} from "../../model/policy/index.ts";
import type { NetlinkSocket } from "../../netlink/index.ts";
import type { LocalEndpoint, NetworkSettings } from "../desired.ts";
import type { KernelBpf } from "../kernel.ts";
import { textOf } from "../programs/maps.ts";
import type { TenantPolicies } from "./desired-policies.ts";
import type { Identifier } from "./identifier.ts";
import { type PeerClass, PeerClasses } from "./peer-classes.ts";
import { outcomeIdentifier, PolicyGroup } from "./policy-group.ts";
import { type PolicyMap, PolicyPrograms } from "./policy-programs.ts";
import {
  addressKey,
  identifierOctets,
  indexKey,
  listKey,
  nothingCounted,
  nothingDenied,
  portValue,
  prefixKey,
  readCount,
  readDenied,
  readIdentifier,
  readIndex,
  readPort,
  readVerdict,
  verdictKey,
  verdictValue,
} from "./rows.ts";
import { ruleIdentifier, type VerdictList } from "./verdict-list.ts";

export interface TenantPolicyOptions {
  readonly bpf: KernelBpf;
  readonly socket: NetlinkSocket;
  readonly desired: TenantPolicies;
}

/** What of a packet is judged. */
export interface JudgedPacket {
  /** The other end. */
  readonly peer: IpAddress;
  /** IANA's number. */
  readonly protocol: number;
  /** The destination port, or the type of an ICMP message. */
  readonly port: number;
}

export interface Decision {
  readonly isAllowed: boolean;
  /** What decides, for people. */
  readonly by: string;
}

/** A port, and what policies know its endpoint by. */
interface Port {
  readonly identity: Identity;
  readonly otherwise: "allow" | "deny";
  readonly vni: Vni;
}

/** `ip`: it is of one address. `view`: as one network has it. */
interface PeerRow {
  readonly ip?: IpAddress;
  readonly view?: Vni;
  readonly key: Uint8Array;
  readonly is: PeerClass;
}

type Groups = Readonly<Record<PolicyDirection, PolicyGroup>>;

/** Rows between two turns of others. */
const rowsInATurn = 2_000;
/** Classes that came one by one, some of which are nobody's any more, before all is looked at again. */
const mostNewClasses = 1_000;

/**
 * Who may talk to whom, in the kernel, for the endpoints of one tenant on this node. What is meant by a row is there before the row:
 * verdicts, then lists, then whose address is of which class, then the group of a port; what is wanted no more goes in reverse.
 */
export class TenantPolicy {
  readonly #desired: TenantPolicies;
  readonly #programs: PolicyPrograms;
  readonly #ports = new Map<number, Port>();
  /** What the ports in the kernel have now. */
  #groups = new Map<Identifier, PolicyGroup>();
  /** Of endpoints under the same of these policies. */
  #groupsFor: readonly Policy[] = [];
  readonly #groupsByText = new Map<string, Groups>();
  /** Those that the rows of peers were made with. */
  #classes = new PeerClasses([], []);
  #policies: readonly Policy[] = [];
  /** By the network's name, those that are here. */
  #networks: ReadonlyMap<string, Pick<NetworkSettings, "vni" | "subnets" | "gateways" | "localVtep">> = new Map();
  #subnets: readonly Cidr[] = [];
  #nodeAddresses: readonly IpAddress[] = [];
  /** All rows of peers with these classes, as they were last made; `undefined`: some are otherwise by now. */
  #rows: readonly PeerRow[] | undefined;
  /** Classes that peers are of, or were. */
  readonly #present = new Map<Identifier, PeerClass>();
  #newClasses = 0;
  /** Who has an address. */
  readonly #holders = new Map<IpAddress, Set<string>>();
  /** The addresses of members as they were last looked at. */
  readonly #ipsOf = new Map<string, readonly IpAddress[]>();
  /** Networks some of whose addresses endpoints of other networks have, too. */
  readonly #shared = new Map<string, Set<IpAddress>>();
  /** Networks that have a row of an address by themselves. */
  readonly #views = new Map<IpAddress, readonly Vni[]>();
  /** The last that was given to a port. */
  #epoch = 0;
  /** Ports with an earlier one have flows that must be judged again. */
  #leastEpoch = 0;
  #isMarkedWhole = true;
  /** Ports that an earlier run put under policies, and that this one has not come to. */
  readonly #adopted = new Set<number>();
  /** Rows may be there that nothing leads to. */
  #isSwept = false;
  /** Of ports that are gone, or under no policies any more. */
  #deniedBefore: Record<PolicyDirection, number> = { ingress: 0, egress: 0 };
  #writes = 0;

  constructor({ bpf, socket, desired }: TenantPolicyOptions) {
    this.#desired = desired;
    this.#programs = new PolicyPrograms(bpf, socket);
  }

  /** Rows that were written. */
  get writes(): number {
    return this.#writes + (this.#programs.present?.writes ?? 0);
  }

  /** Takes up what an earlier run left at these ports. */
  async adopt(ports: readonly number[]): Promise<void> {
    await this.#programs.adopt(ports);
    const maps = this.#programs.present;
    for (const key of maps?.keys("ports") ?? []) {
      if (ports.includes(readIndex(key))) this.#adopted.add(readIndex(key));
      else this.#forgetPort(readIndex(key));
      const row = maps?.known("ports", key);
      if (row !== undefined) this.#epoch = Math.max(this.#epoch, readPort(row).epoch);
    }
  }

  /** Whether the kernel has what is known of policies and members, and nothing else. */
  get isSettled(): boolean {
    return this.#isFollowed && this.#isSwept;
  }

  get #isFollowed(): boolean {
    return !this.#isMarkedWhole && !this.#desired.isChangedWhole && this.#desired.changed.size === 0;
  }

  /** What the tenant has here. */
  setNetworks(networks: readonly NetworkSettings[]): void {
    const isSame =
      networks.length === this.#networks.size &&
      networks.every(({ name, vni, subnets, gateways, localVtep }) => {
        const known = this.#networks.get(name);
        const isOfNetwork = known?.vni === vni && known.subnets === subnets && known.localVtep === localVtep;
        return isOfNetwork && isDeepStrictEqual(known.gateways, gateways);
      });
    if (isSame) return;
    this.#networks = new Map(networks.map((network) => [network.name, network]));
    this.#subnets = [...new Set(networks.flatMap(({ subnets }) => subnets))];
    // Where the tenant has the node's address itself, it is not the node's there.
    const isOwn = (ip: IpAddress): boolean => this.#subnets.some((subnet) => cidrContains(subnet, ip));
    this.#nodeAddresses = networks.flatMap(({ gateways, localVtep }) => [
      ...gateways.map(({ address }) => address),
      ...(isOwn(localVtep) ? [] : [localVtep]),
    ]);
    this.#isMarkedWhole = true;
  }

  /** Makes the rows follow what is desired, and the ports that are there follow the rows. */
  async reconcile(): Promise<void> {
    const desired = this.#desired;
    if (this.#isFollowed) return;
    const isWhole = this.#isMarkedWhole || desired.isChangedWhole || this.#newClasses > mostNewClasses;
    const changed = [...desired.changed];
    desired.isChangedWhole = false;
    desired.changed.clear();
    this.#isMarkedWhole = true;
    const touched = this.#lookAt(isWhole ? new Set([...desired.members.keys(), ...this.#ipsOf.keys()]) : changed);
    if (isWhole) await this.#reconcileAll();
    else if (this.#isInUse) await this.#reconcileMembers(touched);
    this.#isMarkedWhole = false;
  }

  /**
   * Puts the port under the policies of its endpoint. It has no others before it is up. Tells whether anything had to be put at the
   * port itself.
   */
  async ensurePort(endpoint: LocalEndpoint, index: number, settings: NetworkSettings): Promise<boolean> {
    const { name: network, policyDefault: otherwise, vni } = settings;
    const port = { identity: { network, labels: endpoint.labels ?? {} }, otherwise, vni };
    if (!this.#ports.has(index)) this.#isSwept = false;
    this.#ports.set(index, port);
    this.#adopted.delete(index);
    await this.reconcile();
    return this.#ensurePort(index, port);
  }

  /** The port's device is gone. */
  portGone(index: number): void {
    this.#ports.delete(index);
    this.#adopted.delete(index);
    this.#forgetPort(index);
  }

  /** Others of an earlier run are left over. */
  keepPorts(ports: readonly number[]): void {
    for (const index of this.#adopted) if (!ports.includes(index)) this.portGone(index);
  }

  /** Takes away the rows that nothing leads to, and those of ports that never came to be; what an earlier run put under policies is looked at first. */
  async sweep(isPort: (index: number) => boolean): Promise<void> {
    if (this.#isSwept) return;
    for (const index of this.#ports.keys()) if (!isPort(index)) this.portGone(index);
    if (!this.#isFollowed || this.#adopted.size > 0) return;
    if (this.#programs.present !== undefined && (await this.#prune())) {
      this.#renewFlows();
      for (const [index, port] of this.#ports) await this.#ensureRow(index, port);
    }
    this.#newClasses = 0;
    this.#isSwept = true;
  }

  /** Frames to and from all ports, also those that are gone, that policies forbade since this run began to look. */
  get denied(): Readonly<Record<PolicyDirection, number>> {
    return Array.from(this.#ports.keys(), (index) => this.deniedOf(index)).reduce<Record<PolicyDirection, number>>(
      sumOf,
      this.#deniedBefore,
    );
  }

  /** Frames to and from a port that policies forbade; `undefined`: it is under none. */
  deniedOf(index: number): Readonly<Record<PolicyDirection, number>> | undefined {
    const value = this.#programs.present?.read("denied", indexKey(index));
    return value === undefined ? undefined : readDenied(value);
  }

  /**
   * What the kernel says of a packet that begins something at a port, by what its maps have, and which rule does; `undefined`: the
   * port is under no policies in this direction. As policy.c judges.
   */
  judge(index: number, direction: PolicyDirection, packet: JudgedPacket): Decision | undefined {
    const maps = this.#programs.present;
    if (maps === undefined || !this.#programs.isAttached(index)) return undefined;
    const row = maps.read("ports", indexKey(index));
    if (row === undefined) return { isAllowed: false, by: "the port is in no table of policies" };
    const { groups, view } = readPort(row);
    const group = groups[direction];
    if (group === 0n) return undefined;
    const { peer, protocol, port } = packet;
    const peerRow =
      (view === 0 ? undefined : maps.read("peers", addressKey(peer, view))) ?? maps.read("peers", addressKey(peer));
    const of = peerRow === undefined ? 0n : readIdentifier(peerRow);
    const list = maps.read("lists", listKey(group, of)) ?? maps.read("lists", listKey(group, 0n));
    const nothing = { isAllowed: false, by: "no verdict is in its tables" };
    if (list === undefined) return nothing;
    const asked = { protocol, port, length: 16, verdict: { isAllowed: false, rule: 0n, logged: 0n } };
    const verdict = maps.read("verdicts", verdictKey(readIdentifier(list), asked));
    if (verdict === undefined) return nothing;
    const { isAllowed, rule } = readVerdict(verdict);
    return { isAllowed, by: this.#nameOf(rule, direction) };
  }

  /** What decides, in words. */
  #nameOf(id: Identifier, direction: PolicyDirection): string {
    for (const policy of this.#desired.policies.values()) {
      for (const rule of policy.rules)
        if (ruleIdentifier({ policy, rule }) === id) return `rule ${rule.name} of policy ${policy.name}`;
      if (outcomeIdentifier({ isolatedBy: policy.name }, direction) === id)
        return `policy ${policy.name}, which isolates`;
    }
    return "the default of the network";
  }

  /** How often this decided, or was met, here; `undefined`: nobody here is under it. */
  countOf(rule: Identifier): number | undefined {
    const value = this.#programs.present?.read("rules", identifierOctets(rule));
    return value === undefined ? undefined : readCount(value);
  }

  /** Lets go of the kernel, which stays as it is. */
  close(): void {
    this.#writes = this.writes;
    this.#programs.close();
  }

  /** Whether any port needs rows. */
  get #isInUse(): boolean {
    return this.#groups.size > 0;
  }

  /** First whatever speaks of the classes and groups that are and those that come; then these. */
  async #reconcileAll(): Promise<void> {
    const before = this.#policies;
    const policies = [...this.#desired.policies.values()];
    const groups = new Map<Identifier, PolicyGroup>();
    for (const port of this.#ports.values())
      for (const group of Object.values(this.#groupsOf(port, policies)))
        if (group.id !== 0n) groups.set(group.id, group);
    const after = new PeerClasses(policies, this.#subnets, this.#nodeAddresses);
    const keepsAll = this.#classes.peers.isSubsetOf(after.peers);
    const meanwhile = keepsAll ? after : new PeerClasses([...before, ...policies], this.#subnets, this.#nodeAddresses);
    const peers = groups.size > 0 || this.#isInUse ? [...this.#peerRows(meanwhile)] : [];
    if (groups.size > 0 || this.#isInUse) {
      const { maps } = this.#programs;
      const { writes } = maps;
      await this.#putPeers(new Map([...this.#groups, ...groups]), peers);
      await this.#keepOnly("peers", new Set(peers.map(({ key }) => textOf(key))));
      if (maps.writes !== writes) this.#renewFlows();
    }
    this.#policies = policies;
    this.#groups = groups;
    this.#classes = meanwhile;
    for (const [index, port] of this.#ports)
      if ((await this.#ensureRow(index, port)) === "none" || !this.#programs.isAttached(index))
        await this.#ensurePort(index, port);
    this.#classes = after;
    this.#isSwept = false;
    if (groups.size === 0) return;
    if (!keepsAll) {
      const listed = new Set(peers.map(({ is }) => is.id));
      const rows = [...this.#peerRows(after)];
      const fresh = new Map(rows.flatMap(({ is }) => (listed.has(is.id) ? [] : [[is.id, is] as const])));
      await this.#putLists(groups, fresh.values());
      await this.#putPeerRows(rows);
      this.#rows = rows;
    } else this.#rows = peers;
  }

  /** What was allowed may be forbidden by now: flows are judged again, each when its next packet comes. */
  #renewFlows(): void {
    this.#leastEpoch = ++this.#epoch;
  }

  /** Of these addresses alone. */
  async #reconcileMembers(ips: ReadonlySet<IpAddress>): Promise<void> {
    const { maps } = this.#programs;
    const rows = [...ips].flatMap((ip) => this.#rowsOf(ip, this.#classes));
    const fresh = new Map(rows.flatMap(({ is }) => (this.#present.has(is.id) ? [] : [[is.id, is] as const])));
    await this.#putLists(this.#groups, fresh.values());
    this.#newClasses += fresh.size;
    const wanted = new Map(rows.map(({ key, is }) => [textOf(key), textOf(identifierOctets(is.id))]));
    const possible = [...ips].flatMap((ip) => this.#keysOf(ip));
    // Who comes has no flows.
    const isOther = possible.some((key) => {
      const before = maps.known("peers", key);
      return before !== undefined && wanted.get(textOf(key)) !== textOf(before);
    });
    await this.#putPeerRows(rows);
    for (const key of possible) if (!wanted.has(textOf(key))) maps.delete("peers", key);
    if (isOther) this.#renewFlows();
    for (const [index, port] of this.#ports) await this.#ensureRow(index, port);
  }

  async #ensurePort(index: number, port: Port): Promise<boolean> {
    const row = await this.#ensureRow(index, port);
    if (row !== "none") {
      const isAttached = await this.#programs.attach(index);
      return isAttached || row === "written";
    }
    if (this.#programs.isAttached(index)) {
      await this.#programs.detach(index);
      this.#forgetPort(index);
    }
    return false;
  }

  /** `none`: the port is under no policies. */
  async #ensureRow(index: number, port: Port): Promise<"none" | "written" | "present"> {
    const groups = this.#groupsOf(port, this.#policies);
    const fresh = policyDirections.map((direction) => groups[direction]).filter(({ id }) => id !== 0n);
    if (fresh.length === 0) return "none";
    const unknown = new Map(fresh.flatMap((group) => (this.#groups.has(group.id) ? [] : [[group.id, group] as const])));
    if (unknown.size > 0) {
      const { maps } = this.#programs;
      const { writes } = maps;
      if (this.#isInUse) await this.#putLists(unknown, [...this.#present.values()]);
      else {
        // The first that is under policies brings the peers of all.
        await this.#putPeers(unknown, [...this.#peerRows(this.#classes)]);
        if (maps.writes !== writes) this.#renewFlows();
      }
      for (const [id, group] of unknown) this.#groups.set(id, group);
    }
    const { maps } = this.#programs;
    const key = indexKey(index);
    const view = (this.#shared.get(port.identity.network)?.size ?? 0) > 0 ? port.vni : 0;
    const known = maps.known("ports", key);
    const before = known === undefined ? undefined : readPort(known);
    const { ingress, egress } = groups;
    const isOther = before?.groups.ingress !== ingress.id || before.groups.egress !== egress.id;
    if (before !== undefined && isOther) this.#epoch++;
    const epoch = isOther || before.epoch < this.#leastEpoch ? this.#epoch : before.epoch;
    const value = portValue({ groups: { ingress: ingress.id, egress: egress.id }, epoch, view });
    const isCounted = maps.putCounter("denied", key, nothingDenied);
    return maps.put("ports", key, value) || isCounted ? "written" : "present";
  }

  #forgetPort(index: number): void {
    this.#deniedBefore = sumOf(this.#deniedBefore, this.deniedOf(index));
    this.#programs.forget(index);
    const maps = this.#programs.present;
    maps?.delete("ports", indexKey(index));
    maps?.delete("denied", indexKey(index));
  }

  #groupsOf({ identity, otherwise }: Port, policies: readonly Policy[]): Groups {
    if (this.#groupsFor !== policies) this.#groupsByText.clear();
    this.#groupsFor = policies;
    const applying = policies.filter((policy) => appliesTo(policy, identity));
    const text = [otherwise, ...applying.map(({ name }) => name)].join(" ");
    const known = this.#groupsByText.get(text);
    if (known !== undefined) return known;
    const of = (direction: PolicyDirection): PolicyGroup => new PolicyGroup(applying, direction, otherwise);
    const groups = { ingress: of("ingress"), egress: of("egress") };
    this.#groupsByText.set(text, groups);
    return groups;
  }

  /** Remembers the addresses of members; tells which ones may have come to be of another class. */
  #lookAt(ids: Iterable<string>): Set<IpAddress> {
    const touched = new Set<IpAddress>();
    this.#rows = undefined;
    for (const id of ids) {
      const before = this.#ipsOf.get(id) ?? [];
      const after = this.#desired.members.get(id)?.ips ?? [];
      for (const ip of before) {
        const holders = this.#holders.get(ip);
        holders?.delete(id);
        if (holders?.size === 0) this.#holders.delete(ip);
        touched.add(ip);
      }
      for (const ip of after) {
        const holders = this.#holders.get(ip) ?? new Set();
        this.#holders.set(ip, holders.add(id));
        touched.add(ip);
      }
      if (after.length === 0) this.#ipsOf.delete(id);
      else this.#ipsOf.set(id, after);
    }
    for (const ip of touched) this.#noteShared(ip);
    return touched;
  }

  #noteShared(ip: IpAddress): void {
    const networks = new Set(this.#membersAt(ip).map(({ network }) => network));
    for (const [network, ips] of this.#shared) if (networks.size < 2 || !networks.has(network)) ips.delete(ip);
    if (networks.size < 2) return;
    for (const network of networks) {
      const ips = this.#shared.get(network) ?? new Set();
      this.#shared.set(network, ips.add(ip));
    }
  }

  #membersAt(ip: IpAddress) {
    return [...(this.#holders.get(ip) ?? [])].flatMap((id) => this.#desired.members.get(id) ?? []);
  }

  /** The rows that an address has, or may have. */
  #keysOf(ip: IpAddress): Uint8Array[] {
    return [0, ...(this.#views.get(ip) ?? [])].map((view) => addressKey(ip, view));
  }

  /** Whose an address is. In networks that have it each by itself it is theirs; for the others nobody knows. */
  #rowsOf(ip: IpAddress, classes: PeerClasses): PeerRow[] {
    const byNetwork = new Map<string, PeerClass>();
    for (const { network, labels } of this.#membersAt(ip)) {
      const is = classes.ofMember({ network, labels }, ip);
      const other = byNetwork.get(network);
      byNetwork.set(network, other === undefined || other.id === is.id ? is : classes.ofSeveral(ip));
    }
    const own = [...byNetwork].flatMap(([network, is]) => {
      const vni = this.#networks.get(network)?.vni;
      return byNetwork.size < 2 || vni === undefined ? [] : [{ ip, view: vni, key: addressKey(ip, vni), is }];
    });
    const nobody = classes.ofNobody(ip);
    const [first = nobody] = byNetwork.values();
    const general = byNetwork.size > 1 ? classes.ofSeveral(ip) : first;
    // What is said of the prefix around it holds for it, too, unless something is said of the address by itself.
    if (own.length === 0 && general.id === nobody.id && !classes.names(ip)) return [];
    return [{ ip, key: addressKey(ip), is: general }, ...own];
  }

  /** The rows of all peers. */
  *#peerRows(classes: PeerClasses): Generator<PeerRow> {
    // Each row once: what is written for a moment is what packets meet.
    for (const [prefix, is] of classes.prefixes())
      if (!isHostPrefix(prefix) || !this.#holders.has(networkAddress(prefix))) yield { key: prefixKey(prefix), is };
    for (const ip of this.#holders.keys()) yield* this.#rowsOf(ip, classes);
  }

  /** What the groups say of the classes of these peers, then the peers. */
  async #putPeers(groups: ReadonlyMap<Identifier, PolicyGroup>, peers: readonly PeerRow[]): Promise<void> {
    await this.#putLists(groups, new Map(peers.map(({ is }) => [is.id, is])).values());
    await this.#putPeerRows(peers);
  }

  async #putPeerRows(rows: readonly PeerRow[]): Promise<void> {
    await this.#inTurns(rows, (some) =>
      this.#programs.maps.putAll(
        "peers",
        some.map(({ key, is }) => [key, identifierOctets(is.id)]),
      ),
    );
    for (const row of rows) this.#noteView(row);
  }

  #noteView({ ip, view }: PeerRow): void {
    if (ip !== undefined && view !== undefined)
      this.#views.set(ip, [...new Set([...(this.#views.get(ip) ?? []), view])]);
  }

  /** What the groups say of the classes. */
  async #putLists(groups: ReadonlyMap<Identifier, PolicyGroup>, classes: Iterable<PeerClass>): Promise<void> {
    const { maps } = this.#programs;
    const all = [...classes];
    for (const group of groups.values()) {
      const counters = Array.from(group.counters(), identifierOctets);
      await this.#inTurns(counters, (keys) => maps.putCounters("rules", keys, nothingCounted));
      const rows = [...listRows(group, all)];
      const lists = new Map(rows.map(({ list }) => [list.id, list] as const));
      const verdicts = Array.from(lists.values(), (list) => list.rows.map((row) => ({ list, row }))).flat();
      await this.#inTurns(verdicts, (some) =>
        maps.putAll(
          "verdicts",
          some.map(({ list, row }) => [verdictKey(list.id, row), verdictValue(row)]),
        ),
      );
      await this.#inTurns(rows, (some) =>
        maps.putAll(
          "lists",
          some.map(({ key, list }) => [key, identifierOctets(list.id)]),
        ),
      );
    }
    for (const is of all) this.#present.set(is.id, is);
  }

  /** Tells whether somebody lost a class. */
  async #prune(): Promise<boolean> {
    const [peers, lists, verdicts, rules] = [
      new Set<string>(),
      new Set<string>(),
      new Set<string>(),
      new Set<string>(),
    ];
    this.#present.clear();
    this.#views.clear();
    const rows = this.#isInUse ? (this.#rows ?? this.#peerRows(this.#classes)) : [];
    this.#rows = undefined;
    for (const row of rows) {
      peers.add(textOf(row.key));
      this.#present.set(row.is.id, row.is);
      this.#noteView(row);
    }
    for (const group of this.#groups.values()) {
      for (const rule of group.counters()) rules.add(textOf(identifierOctets(rule)));
      for (const { key, list } of listRows(group, this.#present.values())) {
        lists.add(textOf(key));
        for (const row of list.rows) verdicts.add(textOf(verdictKey(list.id, row)));
      }
    }
    const isOther = await this.#keepOnly("peers", peers);
    await this.#keepOnly("lists", lists);
    await this.#keepOnly("verdicts", verdicts);
    await this.#keepOnly("rules", rules);
    return isOther;
  }

  /** Tells whether others were there. */
  async #keepOnly(name: PolicyMap, wanted: ReadonlySet<string>): Promise<boolean> {
    const { maps } = this.#programs;
    const { writes } = maps;
    await this.#inTurns(maps.keysBut(name, wanted), (keys) => maps.deleteAll(name, keys));
    return maps.writes !== writes;
  }

  /** Some at a time; others get their turn between. */
  async #inTurns<Item>(items: readonly Item[], act: (some: readonly Item[]) => void): Promise<void> {
    for (let at = 0; at < items.length; at += rowsInATurn) {
      if (at > 0) await turn();
      act(items.slice(at, at + rowsInATurn));
    }
  }
}

function isHostPrefix(prefix: Cidr): boolean {
  return prefix === hostPrefix(networkAddress(prefix));
}

function sumOf(
  sum: Readonly<Record<PolicyDirection, number>>,
  more: Readonly<Record<PolicyDirection, number>> = { ingress: 0, egress: 0 },
): Record<PolicyDirection, number> {
  return { ingress: sum.ingress + more.ingress, egress: sum.egress + more.egress };
}

/** The lists that a group has for classes, and that of all others. */
function* listRows(
  group: PolicyGroup,
  classes: Iterable<PeerClass>,
): Generator<{ readonly key: Uint8Array; readonly list: VerdictList }> {
  yield { key: listKey(group.id, 0n), list: group.generalList };
  for (const each of classes) {
    const list = group.listOf(each);
    if (list !== undefined && each.id !== 0n) yield { key: listKey(group.id, each.id), list };
  }
}
