import { randomBytes } from "node:crypto";
import type { NodeConnection } from "../../api/clients.ts";
import { kinds } from "../../api/kinds.ts";
import { cidrContains } from "../../base/cidr.ts";
import type { Clock } from "../../base/clock.ts";
import { type Duration, milliseconds, seconds } from "../../base/duration.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { MacAddress } from "../../base/mac.ts";
import { unwrap } from "../../base/result.ts";
import type { DesiredNetwork, NodeDataplane, PortTraffic } from "../../dataplane/index.ts";
import { endpointPortName } from "../../dataplane/kernel-names.ts";
import { addressResolutionFilter, isErrno } from "../../linux/index.ts";
import { declaredIps } from "../../model/resources.ts";
import { changeLink, getFdbEntry, listFdbEntries, neighbourFlag, neighbourState } from "../../netlink/index.ts";
import type { DesiredState } from "../desired-state.ts";
import type { Effect, LearningEvent, Outcome, Port } from "./effects.ts";
import { EventBudget } from "./event-budget.ts";
import { NetworkLearning } from "./network-learning.ts";
import { readSighting, type Sighting } from "./sighting.ts";
import { Snooper } from "./snooper.ts";

export interface LocalLearningOptions {
  readonly desired: DesiredState;
  readonly dataplane: NodeDataplane;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly report: (event: LearningEvent) => void;
  /** The connection to the server, if there is one now. */
  readonly connection: () => NodeConnection | undefined;
  /** Revision of the server's state that is held complete. */
  readonly revision: () => number;
}

interface LearningNetwork {
  readonly desired: DesiredNetwork;
  readonly learning: NetworkLearning;
  /** Ports whose FDB entries were looked at. */
  readonly read: Set<string>;
  armed: { readonly at: number; readonly cancel: () => void } | undefined;
}

const requestTimeout = seconds(10);

/**
 * Learns what is behind the ports of this node in the networks that want it: hears what the bridges learn and what ARP and
 * neighbour discovery say, and publishes it. What it does not know it asks the kernel and the server for, so that nothing
 * of it must be kept on disk.
 */
export class LocalLearning {
  readonly #options: LocalLearningOptions;
  readonly #networks = new Map<string, LearningNetwork>();
  /** By the inode of the tenant's namespace. */
  readonly #snoopers = new Map<number, Snooper>();
  readonly #budget: EventBudget;
  #closed = false;

  constructor(options: LocalLearningOptions) {
    this.#options = options;
    this.#budget = new EventBudget(options.clock, options.report);
  }

  /** The desired state changed. */
  desiredChanged(): void {
    const { desired, dataplane, revision } = this.#options;
    for (const [name, network] of this.#networks)
      if (dataplane.networks.get(name) !== network.desired || !isLearning(network.desired)) this.#forget(name);
    for (const [name, wanted] of dataplane.networks) {
      const declared = desired.networks.get(name)?.network;
      if (declared === undefined || !isLearning(wanted)) continue;
      const { localLearning } = wanted.settings;
      // What was learned in a network that learns no more goes at once.
      const ageing = localLearning ? seconds(declared.ageing) : milliseconds(0);
      const network = this.#networks.get(name) ?? this.#begin(name, wanted);
      const { learning } = network;
      learning.setLimits(declared.learningLimit, ageing);
      this.#do(network, (now) => learning.setPorts(localLearning ? this.#portsOf(wanted) : new Map(), now));
      this.#do(network, (now) => {
        const isElsewhere = (mac: MacAddress): boolean => wanted.remotesByMac.get(mac)?.isLearned === true;
        return learning.synchronise([...wanted.learned.values()], isElsewhere, revision(), now);
      });
    }
  }

  /** The kernel is as desired, as far as it could be made so. */
  dataplaneChanged(): void {
    if (this.#closed) return;
    const wanted = new Set<number>();
    for (const [name, network] of this.#networks) {
      const { desired, read } = network;
      const place = this.#options.dataplane.network(name);
      if (place === undefined || !desired.settings.localLearning) continue;
      wanted.add(place.namespace.inode);
      if (!this.#snoopers.has(place.namespace.inode)) this.#snoop(place.namespace);
      for (const id of read) if (!desired.locals.has(id)) read.delete(id);
      if ([...desired.locals.keys()].some((id) => !read.has(id))) this.#read(name, network);
    }
    for (const [inode, snooper] of this.#snoopers) {
      if (wanted.has(inode)) continue;
      snooper.close();
      this.#snoopers.delete(inode);
    }
  }

  /** The kernel learned or forgot a MAC at a port. */
  onTraffic({ network: name, port, mac, seen }: PortTraffic): void {
    const network = this.#networks.get(name);
    if (network === undefined) return;
    const { learning } = network;
    this.#do(network, (now) => (seen ? learning.macSeen(port, mac, now) : learning.macMissing(port, mac)));
  }

  /** Calls of {@link onTraffic} may be missing. */
  onTrafficMissed(): void {
    for (const [name, network] of this.#networks) this.#read(name, network);
  }

  connected(): void {
    for (const network of this.#networks.values())
      this.#do(network, (now) => {
        network.learning.connected(now);
        return [];
      });
  }

  close(): void {
    this.#closed = true;
    for (const name of this.#networks.keys()) this.#forget(name);
    for (const snooper of this.#snoopers.values()) snooper.close();
    this.#snoopers.clear();
  }

  #begin(name: string, desired: DesiredNetwork): LearningNetwork {
    const learning = new NetworkLearning({
      network: name,
      limit: 0,
      ageing: milliseconds(0),
      newId: () => randomBytes(6).toString("hex"),
      declaredElsewhere: (mac) => {
        const remote = desired.remotesByMac.get(mac);
        if (remote === undefined || remote.isLearned === true) return undefined;
        const { id, source, vtep } = remote;
        return `endpoint ${id} on ${source.name === "server" ? source.node : vtep}`;
      },
    });
    const network = { desired, learning, read: new Set<string>(), armed: undefined };
    this.#networks.set(name, network);
    return network;
  }

  #forget(name: string): void {
    this.#networks.get(name)?.armed?.cancel();
    this.#networks.delete(name);
  }

  #portsOf(network: DesiredNetwork): Map<string, Port> {
    const ports = new Map<string, Port>();
    for (const id of network.locals.keys()) {
      const endpoint = this.#options.desired.own.get(id);
      if (endpoint === undefined || network.local(id)?.standsBy === true) continue;
      const { mac, learnedIps = [] } = endpoint;
      ports.set(id, { mac, ips: declaredIps(endpoint), learnedIps });
    }
    return ports;
  }

  #snoop(namespace: Snooper["namespace"]): void {
    const { clock, logger } = this.#options;
    try {
      const onFrame = (index: number, frame: Uint8Array): void => {
        const sighting = readSighting(frame);
        if (sighting !== undefined) this.#onSighting(namespace.inode, index, sighting);
      };
      const filter = addressResolutionFilter();
      this.#snoopers.set(namespace.inode, new Snooper({ namespace, clock, filter, onFrame }));
    } catch (error) {
      logger.error({ namespace: namespace.label, error: messageOf(error) }, "cannot hear ARP and neighbour discovery");
    }
  }

  #onSighting(inode: number, index: number, { mac, ip }: Sighting): void {
    for (const [name, network] of this.#networks) {
      const place = this.#options.dataplane.network(name);
      const port = place?.namespace.inode === inode ? place.dataplane.ports.endpointAt(index) : undefined;
      if (port === undefined) continue;
      if (network.desired.settings.subnets.some((subnet) => cidrContains(subnet, ip)))
        this.#do(network, (now) => network.learning.ipSeen(port, mac, ip, now));
      return;
    }
  }

  /** Does what an event asks for. Events of networks that are gone are void. */
  #do(network: LearningNetwork, event: (now: number) => Effect[]): void {
    const { clock } = this.#options;
    if (this.#networks.get(network.desired.settings.name) !== network) return;
    for (const effect of event(clock.monotonic())) this.#perform(network, effect);
    const { due } = network.learning;
    if (due === network.armed?.at) return;
    network.armed?.cancel();
    network.armed = undefined;
    if (due === undefined) return;
    const cancel = clock.after(Math.max(0, due - clock.monotonic()) as Duration, () => {
      network.armed = undefined;
      this.#do(network, (now) => network.learning.tick(now));
    });
    network.armed = { at: due, cancel };
  }

  #perform(network: LearningNetwork, effect: Effect): void {
    switch (effect.kind) {
      case "report":
        this.#budget.add(effect.event);
        break;
      case "send":
        void this.#send(network, effect);
        break;
      case "check":
        this.#inKernel(network, this.#check(network, effect.mac));
        break;
      case "deafen":
      case "listen":
        this.#inKernel(network, this.#setDeaf(network, effect.port, effect.kind === "deafen"));
        break;
    }
  }

  async #send(network: LearningNetwork, { withdraw, publish }: Extract<Effect, { kind: "send" }>): Promise<void> {
    const { learning, desired } = network;
    const { connection, logger } = this.#options;
    const { name } = desired.settings;
    try {
      const client = connection()?.client;
      if (client === undefined)
        throw new WeftError({ code: "unavailable", attempted: "publish what was learned", reason: "not connected" });
      if (withdraw.length > 0) {
        const { revision } = await client.deleteEndpoints({ ids: [...withdraw] }, { timeoutMs: requestTimeout });
        learning.released(withdraw, Number(revision));
      }
      const addresses = publish.map(({ id, mac, ips }) => ({ id, mac, ips: [...ips] }));
      const { outcomes, revision } =
        addresses.length === 0
          ? { outcomes: [], revision: 0n }
          : await client.publishLearned({ network: name, addresses }, { timeoutMs: requestTimeout });
      const read = outcomes.map(({ endpoint, reason, retryAfter }): Outcome => {
        const rest = { reason, retryAfter: milliseconds(retryAfter) };
        return endpoint === undefined ? rest : { endpoint: unwrap(kinds.endpoint.fromMessage(endpoint)), ...rest };
      });
      this.#do(network, (now) => learning.answered(read, Number(revision), now));
    } catch (error) {
      logger.debug({ network: name, error: messageOf(error) }, "what was learned could not be published; trying again");
      this.#do(network, (now) => {
        learning.failed(now);
        return [];
      });
    }
  }

  async #check(network: LearningNetwork, mac: MacAddress): Promise<void> {
    const place = this.#options.dataplane.network(network.desired.settings.name);
    if (place === undefined) return;
    const { socket, dataplane } = place;
    let port: string | undefined;
    try {
      const entry = await socket.get(getFdbEntry(dataplane.bridge.index, mac, "self"));
      port = dataplane.ports.endpointAt(entry.index);
    } catch (error) {
      if (!isErrno(error, "ENOENT")) throw error;
    }
    this.#do(network, (now) => network.learning.checked(mac, port, now));
  }

  /** What the bridge learned at ports of this node. Absent from the list is not absent: that is asked for one by one. */
  #read(name: string, network: LearningNetwork): void {
    const place = this.#options.dataplane.network(name);
    if (place === undefined || !network.desired.settings.localLearning) return;
    const { socket, dataplane } = place;
    for (const id of network.desired.locals.keys()) network.read.add(id);
    const read = async (): Promise<void> => {
      const seen = new Set<MacAddress>();
      for (const { index, mac, state, flags } of await socket.dump(
        listFdbEntries({ master: dataplane.bridge.index }),
      )) {
        const port = dataplane.ports.endpointAt(index);
        if (port === undefined || (state & neighbourState.permanent) !== 0) continue;
        if ((flags & neighbourFlag.externallyLearned) !== 0) continue;
        seen.add(mac);
        this.#do(network, (now) => network.learning.macSeen(port, mac, now));
      }
      for (const mac of network.learning.macs) if (!seen.has(mac)) await this.#check(network, mac);
    };
    this.#inKernel(network, read());
  }

  async #setDeaf(network: LearningNetwork, id: string, isDeaf: boolean): Promise<void> {
    const { dataplane } = this.#options;
    network.desired.setDeaf(id, isDeaf);
    await dataplane.changed();
    if (!isDeaf) return;
    const place = dataplane.network(network.desired.settings.name);
    const forget = { info: { portKind: "bridge", bridgePort: { flush: true } } } as const;
    await place?.socket.execute(changeLink({ name: endpointPortName(id) }, forget));
  }

  /** Devices go while they are asked about; what was to be done is done when they are looked at next. */
  #inKernel(network: LearningNetwork, work: Promise<void>): void {
    work.catch((error: unknown) => {
      network.read.clear();
      if (this.#closed || isErrno(error, "ENODEV")) return;
      const { name } = network.desired.settings;
      this.#options.logger.error({ network: name, error: messageOf(error) }, "the bridge could not be asked");
    });
  }
}

/** Whether anything is learned there, or was. */
function isLearning({ settings, learned }: DesiredNetwork): boolean {
  return settings.localLearning || learned.size > 0;
}
