import { type Duration, milliseconds, seconds } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import { isGroupMac, type MacAddress, zeroMac } from "../../base/mac.ts";
import type { Effect, Finding, KnownEndpoint, LearningEvent, Outcome, Port } from "./effects.ts";

/** Who has a MAC by declaration on another node; `undefined`: nobody. */
export type DeclaredElsewhere = (mac: MacAddress) => string | undefined;

/** What is found within this time goes to the server in one request. */
const gathering = milliseconds(10);
const firstPause = milliseconds(200);
const longestPause = seconds(5);
/** What the server refused for good is asked for again when it is seen after this time: the state may have changed. */
const refusedPause = seconds(60);
/** Addresses published of one MAC. */
const ipLimit = 16;
/** Beyond this many times the limit it is a flood, and the kernel stops to learn at the port, too. */
const floodFactor = 4;
const deafTime = seconds(60);
const deafText = `nothing is learned there for ${deafTime / 1000} s`;
/** Findings, and withdrawals, in one request. */
const batchLimit = 256;

interface LearnedIp {
  state: "new" | "published" | "refused";
  /** By the monotonic clock. */
  heard: number;
}

/** A MAC that is, or was a moment ago, behind a port of this node. */
interface Station {
  readonly mac: MacAddress;
  id: string;
  /** `undefined`: the server says that it is here, and it was not seen since the agent started. */
  port: string | undefined;
  /** It is the port's declared MAC: it does not age, and only its further addresses are published. */
  readonly isDeclared: boolean;
  readonly ips: Map<IpAddress, LearnedIp>;
  isPublished: boolean;
  /** The server knew it, or its addresses, so at this revision. */
  revision: number;
  /** Not published before. */
  askAt: number;
  /** What the operator was last told to be published of it. */
  told: string | undefined;
  /** What the server last had to say of it. */
  reason: string;
  /** The server refused it for good. */
  refusedAt: number | undefined;
  /** Withdrawn then, if it is not seen before. */
  deadline: number | undefined;
  /** Its having too many addresses was told. */
  isFull: boolean;
}

interface PortState {
  readonly declared: Port;
  readonly macs: Set<MacAddress>;
  /** There, as the kernel says, and not published: the port is full. */
  readonly surplus: Set<MacAddress>;
  /** That it is full was told. */
  isFull: boolean;
  deafUntil: number | undefined;
}

interface Withdrawal {
  readonly id: string;
  /** The revision at which the server's state has it no more; `undefined`: the server is to be told. */
  readonly revision: number | undefined;
}

/**
 * What is learned behind the ports of one network on this node, and what the server has been told of it. Pure: methods are
 * events, with the time by the monotonic clock, and answer what is to be done.
 */
export class NetworkLearning {
  readonly #network: string;
  readonly #newId: () => string;
  readonly #declaredElsewhere: DeclaredElsewhere;
  #limit: number;
  #ageing: Duration;
  readonly #ports = new Map<string, PortState>();
  /** The ports of declared MACs. */
  readonly #portOfMac = new Map<MacAddress, string>();
  readonly #stations = new Map<MacAddress, Station>();
  readonly #macOfIp = new Map<IpAddress, MacAddress>();
  /** Published, gone, and the server's state has them still. */
  readonly #withdrawn = new Map<MacAddress, Withdrawal>();
  /** Hosts of which something may be to be published. */
  readonly #changed = new Set<MacAddress>();
  /** Hosts that have a deadline. */
  readonly #unseen = new Set<MacAddress>();
  readonly #deafPorts = new Set<string>();
  #sending: { readonly withdraw: readonly string[]; readonly publish: readonly Finding[] } | undefined;
  #sendAt: number | undefined;
  /** Of the state that was synchronised with last. It goes back when the server was restored from an older copy. */
  #revision = 0;
  #pause: Duration = firstPause;
  /** No request before, because one failed. */
  #pausedUntil = 0;

  constructor(options: {
    readonly network: string;
    readonly limit: number;
    readonly ageing: Duration;
    readonly newId: () => string;
    readonly declaredElsewhere: DeclaredElsewhere;
  }) {
    this.#network = options.network;
    this.#limit = options.limit;
    this.#ageing = options.ageing;
    this.#newId = options.newId;
    this.#declaredElsewhere = options.declaredElsewhere;
  }

  /** MACs per port, and how long one that was not seen yet is waited for. */
  setLimits(limit: number, ageing: Duration): void {
    this.#limit = limit;
    this.#ageing = ageing;
  }

  /** MACs that are thought to be behind a port here, declared ones excepted. */
  get macs(): readonly MacAddress[] {
    return [...this.#stations.values()].filter((station) => !station.isDeclared).map(({ mac }) => mac);
  }

  /** When {@link tick} is due, by the monotonic clock. */
  get due(): number | undefined {
    let due = this.#sending === undefined ? this.#sendAt : undefined;
    const consider = (time: number | undefined): void => {
      if (time !== undefined && (due === undefined || time < due)) due = time;
    };
    for (const id of this.#deafPorts) consider(this.#ports.get(id)?.deafUntil);
    for (const mac of this.#unseen) consider(this.#stations.get(mac)?.deadline);
    return due;
  }

  /** The ports there are, by the id of the endpoint that was declared there. What was behind one that is gone is withdrawn. */
  setPorts(ports: ReadonlyMap<string, Port>, now: number): Effect[] {
    const effects: Effect[] = [];
    for (const [id, { declared, macs, surplus }] of this.#ports) {
      if (ports.get(id)?.mac === declared.mac) continue;
      surplus.clear();
      for (const mac of macs) effects.push(...this.#withdraw(mac, "the port that it was behind is gone", now));
      this.#forget(declared.mac);
      this.#portOfMac.delete(declared.mac);
      this.#deafPorts.delete(id);
      this.#ports.delete(id);
    }
    for (const [id, declared] of ports) {
      const before = this.#ports.get(id);
      if (before === undefined) {
        const station = this.#stations.get(declared.mac);
        if (station !== undefined)
          effects.push(...this.#withdraw(station.mac, `endpoint ${id} was declared with it`, now));
        this.#portOfMac.set(declared.mac, id);
      }
      this.#ports.set(id, {
        macs: new Set(),
        surplus: new Set(),
        isFull: false,
        deafUntil: undefined,
        ...before,
        declared,
      });
    }
    return effects;
  }

  /** What the server says at `revision` of this node's learned endpoints; `isElsewhere`: learned by another node. */
  synchronise(
    known: readonly KnownEndpoint[],
    isElsewhere: (mac: MacAddress) => boolean,
    revision: number,
    now: number,
  ): Effect[] {
    const effects: Effect[] = [];
    const named = new Set<MacAddress>();
    if (revision < this.#revision) for (const station of this.#stations.values()) station.revision = 0;
    this.#revision = revision;
    for (const [mac, withdrawal] of this.#withdrawn)
      if (withdrawal.revision !== undefined && withdrawal.revision <= revision) this.#withdrawn.delete(mac);
    for (const endpoint of known) {
      const { mac, id } = endpoint;
      named.add(mac);
      if (this.#withdrawn.get(mac)?.id === id) continue;
      const station = this.#stations.get(mac);
      if (station !== undefined) effects.push(...this.#accept(station, endpoint, revision, now));
      else effects.push(...this.#takeUp(endpoint, revision, now));
    }
    for (const [id, { declared }] of this.#ports) {
      const station = this.#stations.get(declared.mac);
      const endpoint = { id, mac: declared.mac, ips: declared.learnedIps };
      if (station !== undefined) effects.push(...this.#accept(station, endpoint, revision, now));
      else if (declared.learnedIps.length > 0)
        this.#accept(this.#add(declared.mac, id, true, now), endpoint, revision, now);
    }
    for (const station of [...this.#stations.values()]) {
      if (!station.isPublished || station.isDeclared || named.has(station.mac) || revision < station.revision) continue;
      if (isElsewhere(station.mac)) effects.push(...this.#leave(station, now));
      else if (station.port === undefined) this.#forget(station.mac);
      else effects.push(...this.#publishAgain(station, now));
    }
    return effects;
  }

  /** A frame of this MAC came in by the port. */
  macSeen(portId: string, mac: MacAddress, now: number): Effect[] {
    const port = this.#ports.get(portId);
    if (port === undefined || port.deafUntil !== undefined || isGroupMac(mac) || mac === zeroMac) return [];
    const declaredAt = this.#portOfMac.get(mac);
    if (declaredAt === portId) return [];
    const declared = declaredAt === undefined ? this.#declaredElsewhere(mac) : `endpoint ${declaredAt} on this node`;
    if (declared !== undefined) {
      // Whoever learns from there would send the endpoint's traffic to an impostor, or round a loop.
      const message = `is used behind ${portText(portId)}, and ${declared} was declared with it; ${deafText}`;
      return [this.#report("refused", mac, message), ...this.#deafen(port, portId, now)];
    }
    const station = this.#stations.get(mac);
    if (station === undefined) return this.#find(port, portId, mac, now);
    station.deadline = undefined;
    this.#unseen.delete(mac);
    this.#askAgain(station, now);
    if (station.port === portId) return [];
    return this.#move(station, port, portId, now);
  }

  /** An ARP packet or a neighbour discovery message that came in by the port says that the MAC has the address. */
  ipSeen(portId: string, mac: MacAddress, ip: IpAddress, now: number): Effect[] {
    const effects = this.macSeen(portId, mac, now);
    const port = this.#ports.get(portId);
    const isDeclared = port?.declared.mac === mac;
    if (port === undefined || (isDeclared && port.declared.ips.includes(ip))) return effects;
    let station = this.#stations.get(mac);
    if (station === undefined && isDeclared) station = this.#add(mac, portId, true, now);
    if (station?.port !== portId) return effects;
    const present = station.ips.get(ip);
    if (present !== undefined) {
      if (present.state === "refused" && now - present.heard >= refusedPause) {
        present.state = "new";
        this.#touch(station, now);
      }
      if (present.state !== "refused") present.heard = now;
      return effects;
    }
    if (station.ips.size >= ipLimit && !this.#dropSilent(station, now)) {
      if (station.isFull) return effects;
      station.isFull = true;
      return [...effects, this.#report("limited", mac, `has more than ${ipLimit} addresses; ${ip} is not published`)];
    }
    const other = this.#stations.get(this.#macOfIp.get(ip) ?? zeroMac);
    // The server takes it from that one, too.
    other?.ips.delete(ip);
    station.ips.set(ip, { state: "new", heard: now });
    this.#macOfIp.set(ip, mac);
    this.#touch(station, now);
    return effects;
  }

  /** The kernel forgot the MAC at the port. */
  macMissing(portId: string, mac: MacAddress): Effect[] {
    const port = this.#ports.get(portId);
    port?.surplus.delete(mac);
    const station = this.#stations.get(mac);
    if (port === undefined || port.deafUntil !== undefined || station?.port !== portId || station.isDeclared) return [];
    return [{ kind: "check", mac }];
  }

  /** The kernel has the MAC at this port, or at none of this node's. */
  checked(mac: MacAddress, portId: string | undefined, now: number): Effect[] {
    if (portId !== undefined && this.#ports.has(portId)) return this.macSeen(portId, mac, now);
    const station = this.#stations.get(mac);
    if (station === undefined || station.isDeclared) return [];
    if (station.port !== undefined && this.#ports.get(station.port)?.deafUntil !== undefined) return [];
    if (station.deadline !== undefined && now < station.deadline) return [];
    return this.#withdraw(mac, "it was not heard of any more", now);
  }

  /** These are withdrawn: the server's state has them no more from `revision` on. */
  released(ids: readonly string[], revision: number): void {
    for (const [mac, { id }] of this.#withdrawn) if (ids.includes(id)) this.#withdrawn.set(mac, { id, revision });
  }

  /** The server's answer to what was sent, one outcome for each finding. The endpoints are so at `revision`. */
  answered(outcomes: readonly Outcome[], revision: number, now: number): Effect[] {
    const findings = this.#sending?.publish ?? [];
    const effects: Effect[] = [];
    this.#sending = undefined;
    this.#pause = firstPause;
    this.#pausedUntil = 0;
    for (const [index, finding] of findings.entries()) {
      const outcome = outcomes[index];
      if (outcome !== undefined) effects.push(...this.#settle(finding, outcome, revision, now));
    }
    this.#schedule(now);
    return effects;
  }

  /** The server could not be asked. */
  failed(now: number): void {
    this.#sending = undefined;
    this.#pausedUntil = now + this.#pause;
    this.#pause = Math.min(this.#pause * 2, longestPause) as Duration;
    this.#schedule(now);
  }

  /** The server can be reached again. */
  connected(now: number): void {
    this.#pause = firstPause;
    this.#pausedUntil = 0;
    this.#schedule(now);
  }

  /** Does what is due. */
  tick(now: number): Effect[] {
    const effects: Effect[] = [];
    for (const id of this.#deafPorts) {
      const port = this.#ports.get(id);
      if (port?.deafUntil !== undefined && port.deafUntil <= now) effects.push(...this.#listen(id, port, now));
    }
    for (const mac of this.#unseen) {
      const station = this.#stations.get(mac);
      if (station?.deadline === undefined || station.deadline > now) continue;
      this.#unseen.delete(mac);
      effects.push({ kind: "check", mac });
    }
    if (this.#sending !== undefined || this.#sendAt === undefined || this.#sendAt > now) return effects;
    const send = this.#collect(now);
    if (send !== undefined) effects.push(send);
    return effects;
  }

  /** An endpoint that the agent knew in an earlier life. It is withdrawn if the bridge does not show it in time. */
  #takeUp({ id, mac, ips }: KnownEndpoint, revision: number, now: number): Effect[] {
    const station = this.#add(mac, undefined, false, now);
    station.deadline = now + this.#ageing;
    this.#unseen.add(mac);
    this.#accept(station, { id, mac, ips }, revision, now);
    return [{ kind: "check", mac }];
  }

  /** What the server says of a station, unless this node has told it something newer. */
  #accept(station: Station, { id, ips }: KnownEndpoint, revision: number, now: number): Effect[] {
    if (revision < station.revision) return [];
    if (!station.isDeclared) station.isPublished = true;
    station.id = id;
    for (const [ip, { state }] of station.ips)
      if (state === "published" && !ips.includes(ip)) this.#dropIp(station, ip);
    for (const ip of ips) {
      const heard = station.ips.get(ip)?.heard ?? now;
      // One that another station here took over meanwhile is that one's.
      if (!station.ips.has(ip) && this.#macOfIp.has(ip)) continue;
      station.ips.set(ip, { state: "published", heard });
      this.#macOfIp.set(ip, station.mac);
    }
    return this.#tell(station);
  }

  /** What is published of a station, if that is news. */
  #tell(station: Station): Effect[] {
    const text = textOf(station.ips);
    if (!station.isPublished || text === station.told) return [];
    station.told = text;
    return [
      this.#report(
        "learned",
        station.mac,
        `${text}${station.port === undefined ? "" : ` behind ${portText(station.port)}`}`.trim(),
      ),
    ];
  }

  /** A MAC that was not known. */
  #find(port: PortState, portId: string, mac: MacAddress, now: number): Effect[] {
    if (port.macs.size >= this.#limit) return this.#exceed(port, portId, mac, now);
    const station = this.#add(mac, portId, false, now);
    const withdrawn = this.#withdrawn.get(mac);
    // It is back before the server was told that it had gone.
    if (withdrawn?.revision === undefined && withdrawn !== undefined && !this.#isSending(withdrawn.id)) {
      this.#withdrawn.delete(mac);
      station.id = withdrawn.id;
    }
    this.#touch(station, now);
    return [];
  }

  #exceed(port: PortState, portId: string, mac: MacAddress, now: number): Effect[] {
    port.surplus.add(mac);
    const effects: Effect[] = [];
    if (!port.isFull) {
      port.isFull = true;
      const message = `has more than ${this.#limit} MAC addresses behind it; ${mac} and others are not published`;
      effects.push(this.#reportPort(portId, message));
    }
    if (port.macs.size + port.surplus.size <= this.#limit * floodFactor) return effects;
    const message = `has more than ${this.#limit * floodFactor} MAC addresses behind it; ${deafText}`;
    return [...effects, this.#reportPort(portId, message), ...this.#deafen(port, portId, now)];
  }

  /** What is published stays so meanwhile. */
  #deafen(port: PortState, portId: string, now: number): Effect[] {
    port.deafUntil = now + deafTime;
    this.#deafPorts.add(portId);
    port.surplus.clear();
    return [{ kind: "deafen", port: portId }];
  }

  /** The kernel forgot all that was behind the port: what was published has as long as anything has to be seen again. */
  #listen(id: string, port: PortState, now: number): Effect[] {
    port.deafUntil = undefined;
    this.#deafPorts.delete(id);
    port.isFull = false;
    for (const mac of port.macs) {
      const station = this.#stations.get(mac);
      if (station === undefined) continue;
      station.deadline = now + this.#ageing;
      this.#unseen.add(mac);
    }
    return [{ kind: "listen", port: id }];
  }

  #move(station: Station, port: PortState, portId: string, now: number): Effect[] {
    const { mac, port: before } = station;
    if (port.macs.size >= this.#limit)
      return [
        ...this.#withdraw(mac, `${portText(portId)}, where it is now, is full`, now),
        ...this.#exceed(port, portId, mac, now),
      ];
    port.macs.add(mac);
    station.port = portId;
    this.#touch(station, now);
    if (before === undefined) return [];
    const effects: Effect[] = [this.#report("moved", mac, `moved from ${portText(before)} to ${portText(portId)}`)];
    const left = this.#ports.get(before);
    left?.macs.delete(mac);
    return [...effects, ...this.#promote(before, now)];
  }

  /** Another node has it now. */
  #leave(station: Station, now: number): Effect[] {
    this.#forget(station.mac);
    const effects = station.port === undefined ? [] : this.#promote(station.port, now);
    return [this.#report("moved", station.mac, "moved to another node"), ...effects];
  }

  /** The server lost it, or somebody deleted it; the kernel knows whether it is still here. */
  #publishAgain(station: Station, now: number): Effect[] {
    station.isPublished = false;
    station.id = this.#newId();
    for (const ip of station.ips.values()) ip.state = "new";
    this.#touch(station, now);
    return [{ kind: "check", mac: station.mac }];
  }

  #withdraw(mac: MacAddress, why: string, now: number): Effect[] {
    const station = this.#stations.get(mac);
    if (station === undefined) return [];
    this.#forget(mac);
    const effects: Effect[] = [];
    // One that is being published is withdrawn when the answer names it.
    if (station.isPublished && !station.isDeclared) {
      this.#withdrawn.set(mac, { id: station.id, revision: undefined });
      this.#schedule(now);
      effects.push(this.#report("withdrawn", mac, [textOf(station.ips), why].filter((part) => part !== "").join(": ")));
    }
    return station.port === undefined ? effects : [...effects, ...this.#promote(station.port, now)];
  }

  /** There is room at the port for one of those that had none. */
  #promote(portId: string, now: number): Effect[] {
    const port = this.#ports.get(portId);
    const [mac] = port?.surplus ?? [];
    if (port === undefined || mac === undefined || port.macs.size >= this.#limit) return [];
    port.surplus.delete(mac);
    // It may have gone meanwhile, unheard.
    return [...this.#find(port, portId, mac, now), { kind: "check", mac }];
  }

  #settle(finding: Finding, { endpoint, reason, retryAfter }: Outcome, revision: number, now: number): Effect[] {
    const station = this.#stations.get(finding.mac);
    const effects: Effect[] = [];
    if (station === undefined) {
      // It went while it was being published.
      if (endpoint !== undefined && !this.#portOfMac.has(finding.mac))
        this.#withdrawn.set(finding.mac, { id: endpoint.id, revision: undefined });
      return [];
    }
    if (reason !== "" && reason !== station.reason) effects.push(this.#report("refused", finding.mac, reason));
    station.reason = reason;
    if (endpoint === undefined) {
      if (retryAfter > 0) station.askAt = now + retryAfter;
      else station.refusedAt = now;
      this.#changed.add(station.mac);
      return effects;
    }
    station.isPublished = true;
    if (!station.isDeclared) station.id = endpoint.id;
    station.revision = revision;
    station.refusedAt = undefined;
    for (const ip of finding.ips) {
      const learned = station.ips.get(ip);
      if (learned === undefined) continue;
      const isAccepted = endpoint.ips.includes(ip);
      if (isAccepted) learned.state = "published";
      else if (retryAfter === 0) learned.state = "refused";
      if (!isAccepted) learned.heard = now;
    }
    if (retryAfter > 0) station.askAt = now + retryAfter;
    this.#changed.add(station.mac);
    return [...effects, ...this.#tell(station)];
  }

  #collect(now: number): Effect | undefined {
    this.#sendAt = undefined;
    const publish: Finding[] = [];
    let next: number | undefined;
    for (const mac of this.#changed) {
      const station = this.#stations.get(mac);
      if (station === undefined || !isUnpublished(station)) this.#changed.delete(mac);
      else if (station.askAt > now) next = Math.min(next ?? station.askAt, station.askAt);
      else if (publish.length < batchLimit) publish.push(findingOf(station));
    }
    const withdraw = this.#toWithdraw().slice(0, batchLimit);
    if (publish.length === 0 && withdraw.length === 0) {
      if (next !== undefined) this.#sendAt = Math.max(next, this.#pausedUntil);
      return undefined;
    }
    this.#sending = { withdraw, publish };
    return { kind: "send", withdraw, publish };
  }

  /** What is to be sent goes out a moment later, with what comes meanwhile. */
  #schedule(now: number): void {
    if (this.#changed.size === 0 && this.#toWithdraw().length === 0) return;
    const at = Math.max(now + gathering, this.#pausedUntil);
    if (this.#sendAt === undefined || this.#sendAt > at) this.#sendAt = at;
    else if (this.#sendAt < this.#pausedUntil) this.#sendAt = this.#pausedUntil;
  }

  #toWithdraw(): string[] {
    return [...this.#withdrawn.values()].flatMap(({ id, revision }) => (revision === undefined ? [id] : []));
  }

  #isSending(id: string): boolean {
    return this.#sending?.withdraw.includes(id) === true;
  }

  #touch(station: Station, now: number): void {
    this.#changed.add(station.mac);
    this.#schedule(now);
  }

  /** A station that the server refused for good and that is still there after a while. */
  #askAgain(station: Station, now: number): void {
    if (station.refusedAt === undefined || now - station.refusedAt < refusedPause) return;
    station.refusedAt = undefined;
    this.#touch(station, now);
  }

  #add(mac: MacAddress, port: string | undefined, isDeclared: boolean, now: number): Station {
    const station: Station = {
      mac,
      id: isDeclared && port !== undefined ? port : this.#newId(),
      port,
      isDeclared,
      ips: new Map(),
      isPublished: isDeclared,
      revision: 0,
      askAt: now,
      told: isDeclared ? "" : undefined,
      reason: "",
      refusedAt: undefined,
      deadline: undefined,
      isFull: false,
    };
    this.#stations.set(mac, station);
    if (port !== undefined && !isDeclared) this.#ports.get(port)?.macs.add(mac);
    return station;
  }

  #forget(mac: MacAddress): void {
    const station = this.#stations.get(mac);
    if (station === undefined) return;
    for (const ip of station.ips.keys()) if (this.#macOfIp.get(ip) === mac) this.#macOfIp.delete(ip);
    this.#stations.delete(mac);
    this.#unseen.delete(mac);
    this.#changed.delete(mac);
    if (station.port === undefined || station.isDeclared) return;
    const port = this.#ports.get(station.port);
    port?.macs.delete(mac);
    if (port !== undefined && port.surplus.size === 0) port.isFull = false;
  }

  #dropIp(station: Station, ip: IpAddress): void {
    station.ips.delete(ip);
    if (this.#macOfIp.get(ip) === station.mac) this.#macOfIp.delete(ip);
  }

  /** Makes room for an address by giving up the one that was silent longest, if it was silent for long. */
  #dropSilent(station: Station, now: number): boolean {
    const [oldest] = [...station.ips].sort(([, a], [, b]) => a.heard - b.heard);
    if (oldest === undefined || now - oldest[1].heard < this.#ageing) return false;
    this.#dropIp(station, oldest[0]);
    return true;
  }

  #report(kind: LearningEvent["kind"], mac: MacAddress, message: string): Effect {
    const level = kind === "refused" || kind === "limited" ? "warning" : "info";
    return {
      kind: "report",
      event: { level, kind, object: { kind: "MAC", network: this.#network, key: mac }, message },
    };
  }

  #reportPort(port: string, message: string): Effect {
    const object = { kind: "port of endpoint", network: this.#network, key: port };
    return { kind: "report", event: { level: "warning", kind: "limited", object, message } };
  }
}

/** Whether there is something that the server has not been told, and may accept. */
function isUnpublished(station: Station): boolean {
  if (station.port === undefined || station.refusedAt !== undefined) return false;
  return !station.isPublished || [...station.ips.values()].some(({ state }) => state === "new");
}

function findingOf({ id, mac, ips }: Station): Finding {
  return { id, mac, ips: [...ips].filter(([, { state }]) => state !== "refused").map(([ip]) => ip) };
}

function portText(id: string): string {
  return `the port of endpoint ${id}`;
}

function textOf(ips: ReadonlyMap<IpAddress, LearnedIp>): string {
  const published = [...ips].filter(([, { state }]) => state === "published").map(([ip]) => ip);
  return published.join(", ");
}
