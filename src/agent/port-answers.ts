import type { Clock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import type {
  DesiredNetwork,
  KernelObject,
  LocalEndpoint,
  NetworkSettings,
  NodeDataplane,
  Problems,
  ProgrammedNetwork,
} from "../dataplane/index.ts";
import type { KernelNamespace } from "../dataplane/kernel.ts";
import type { Network } from "../model/resources.ts";
import type { DesiredState } from "./desired-state.ts";

/** What follows from these is the same as long as all three are the same objects. */
export interface Sources {
  readonly network: Network;
  readonly settings: NetworkSettings;
  readonly endpoint: LocalEndpoint;
}

/** Where an endpoint's port is. */
export interface PortOfEndpoint {
  readonly namespace: KernelNamespace;
  /** Of the port, in there. */
  readonly index: number;
}

/** What answers one endpoint, at its port. */
export interface Answerer {
  setSources(sources: Sources): void;
  /** The endpoint is still there, and its network wants it to be answered no more. */
  leave?(): void;
  close(): void;
}

export interface PortAnswersOptions {
  readonly desired: Pick<DesiredState, "networks">;
  readonly dataplane: Pick<NodeDataplane, "networksOf" | "network">;
  readonly problems: Problems;
  readonly clock: Clock;
  /** What cannot be done where a port cannot be heard: `DHCP of endpoint`. */
  readonly problemKind: string;
  readonly isWanted: (network: Network) => boolean;
  readonly open: (port: PortOfEndpoint, sources: Sources) => Answerer;
}

interface Answering {
  readonly inode: number;
  readonly index: number;
  readonly answerer: Answerer;
  sources: Sources;
}

const openAgainAfter = seconds(5);

/**
 * Answers the endpoints of this node, in networks that want it, from what the agent knows: whether the server can be reached or not.
 * Nothing is kept but what answers, one for each port.
 */
export class PortAnswers {
  readonly #options: PortAnswersOptions;
  /** By tenant, and there by endpoint. */
  readonly #ports = new Map<string, Map<string, Answering>>();
  /** Tenants with a port that could not be heard. */
  readonly #failed = new Set<string>();
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: PortAnswersOptions) {
    this.#options = options;
  }

  /** The ports of a tenant are as desired, as far as they could be made so. */
  portsChanged(tenant: string): void {
    if (this.#closed) return;
    const { desired, dataplane, problems, problemKind, isWanted } = this.#options;
    const ports = this.#ports.get(tenant) ?? new Map<string, Answering>();
    this.#ports.set(tenant, ports);
    const wanted = new Set<string>();
    for (const network of dataplane.networksOf(tenant)) {
      const { name } = network.settings;
      const declared = desired.networks.get(name)?.network;
      if (declared === undefined || !isWanted(declared)) continue;
      const place = dataplane.network(name);
      if (place === undefined || place.dataplane.desired !== network) continue;
      // One that stands by is another node's to answer.
      for (const [id, { standsBy }] of network.locals)
        if (standsBy !== true && this.#answer(ports, id, declared, network, place)) wanted.add(id);
    }
    for (const [id, answering] of ports) if (!wanted.has(id)) this.#end(ports, id, answering);
    if (ports.size === 0) this.#ports.delete(tenant);
    problems.forget(({ kind, tenant: of, key = "" }) => kind === problemKind && of === tenant && !wanted.has(key));
  }

  /** Nothing is told to endpoints: whoever starts next goes on. */
  close(): void {
    this.#closed = true;
    this.#cancelRetry?.();
    for (const ports of this.#ports.values()) for (const { answerer } of ports.values()) answerer.close();
    this.#ports.clear();
  }

  /** Tells whether the endpoint has a port to be answered at. */
  #answer(
    ports: Map<string, Answering>,
    id: string,
    network: Network,
    desired: DesiredNetwork,
    place: ProgrammedNetwork,
  ): boolean {
    const { settings } = desired;
    const endpoint = desired.local(id);
    const index = place.dataplane.ports.indexOf(id);
    if (endpoint === undefined || index === undefined) return false;
    const { namespace } = place;
    const sources: Sources = { network, settings, endpoint };
    const present = ports.get(id);
    if (present?.index === index && present.inode === namespace.inode) {
      if (!isSame(present.sources, sources)) present.answerer.setSources(sources);
      present.sources = sources;
      return true;
    }
    present?.answerer.close();
    ports.delete(id);
    const { problems, open } = this.#options;
    const object = this.#object(id, settings);
    try {
      ports.set(id, { inode: namespace.inode, index, answerer: open({ namespace, index }, sources), sources });
      problems.cleared(object);
    } catch (error) {
      problems.failed(object, error instanceof Error ? error : new Error(String(error)));
      this.#tryAgain(settings.tenant);
    }
    return true;
  }

  #tryAgain(tenant: string): void {
    this.#failed.add(tenant);
    this.#cancelRetry ??= this.#options.clock.after(openAgainAfter, () => {
      this.#cancelRetry = undefined;
      const failed = [...this.#failed];
      this.#failed.clear();
      for (const each of failed) this.portsChanged(each);
    });
  }

  #end(ports: Map<string, Answering>, id: string, { inode, index, answerer, sources }: Answering): void {
    const place = this.#options.dataplane.network(sources.settings.name);
    if (place?.namespace.inode === inode && place.dataplane.ports.indexOf(id) === index) answerer.leave?.();
    answerer.close();
    ports.delete(id);
  }

  #object(key: string, { name, tenant }: Pick<NetworkSettings, "name" | "tenant">): KernelObject {
    return { kind: this.#options.problemKind, tenant, network: name, key };
  }
}

function isSame(a: Sources, b: Sources): boolean {
  return a.network === b.network && a.settings === b.settings && a.endpoint === b.endpoint;
}
