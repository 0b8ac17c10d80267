import type { Clock } from "../../base/clock.ts";
import { seconds } from "../../base/duration.ts";
import type { IpAddress } from "../../base/ip.ts";
import type {
  DesiredNetwork,
  KernelObject,
  LocalEndpoint,
  NetworkSettings,
  NodeDataplane,
  Problems,
  ProgrammedNetwork,
} from "../../dataplane/index.ts";
import type { Network } from "../../model/resources.ts";
import type { DesiredState } from "../desired-state.ts";
import type { EventLog } from "../event-log.ts";
import { MetadataPort } from "../metadata/metadata-port.ts";
import { AnsweringPort } from "./answering-port.ts";
import { configurationOf } from "./configuration.ts";

export interface DhcpResponderOptions {
  readonly desired: Pick<DesiredState, "networks">;
  readonly dataplane: Pick<NodeDataplane, "networksOf" | "network">;
  readonly problems: Problems;
  readonly clock: Clock;
  /** At least 0 and less than 1. */
  readonly random: () => number;
  readonly report: EventLog["add"];
  /** What an endpoint of this node is to be told as its user data, by its id. */
  readonly userDataOf: (id: string) => Uint8Array | undefined;
}

/** What a configuration follows from: as long as all three are the same objects it is the same. */
interface Sources {
  readonly network: Network;
  readonly settings: NetworkSettings;
  readonly endpoint: LocalEndpoint;
}

interface Answering {
  /** Of the namespace of the port. */
  readonly inode: number;
  /** Of the port, in there. */
  readonly index: number;
  readonly port: AnsweringPort;
  /** Absent: the network has none. */
  readonly metadata?: MetadataPort;
  sources: Sources;
}

const openAgainAfter = seconds(5);
/** One endpoint's complaints are told this often at most. */
const declinedInterval = seconds(60);

/**
 * Answers the endpoints of this node, in networks that want it, from what the agent knows: whether the server can be reached or not.
 * Nothing is kept but sockets, one for each port, and one more where the network has metadata.
 */
export class DhcpResponder {
  readonly #options: DhcpResponderOptions;
  /** By tenant, and there by endpoint. */
  readonly #ports = new Map<string, Map<string, Answering>>();
  /** By endpoint, when it was last told that it declines its address. */
  readonly #declined = new Map<string, number>();
  /** Tenants with a port that could not be heard. */
  readonly #failed = new Set<string>();
  #cancelRetry: (() => void) | undefined;
  #closed = false;

  constructor(options: DhcpResponderOptions) {
    this.#options = options;
  }

  /** The ports of a tenant are as desired, as far as they could be made so. */
  portsChanged(tenant: string): void {
    if (this.#closed) return;
    const { desired, dataplane, problems } = this.#options;
    const ports = this.#ports.get(tenant) ?? new Map<string, Answering>();
    this.#ports.set(tenant, ports);
    const wanted = new Set<string>();
    for (const network of dataplane.networksOf(tenant)) {
      const { name } = network.settings;
      const declared = desired.networks.get(name)?.network;
      if (declared?.dhcp === undefined) continue;
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
    for (const ports of this.#ports.values()) for (const answering of ports.values()) close(answering);
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
    const { inode } = place.namespace;
    const sources: Sources = { network, settings, endpoint };
    const present = ports.get(id);
    const isSamePort =
      present?.index === index &&
      present.inode === inode &&
      (present.metadata !== undefined) === (network.dhcp?.metadata === true);
    if (isSamePort && isSame(present.sources, sources)) return true;
    const configuration = configurationOf(network, settings, endpoint);
    if (configuration === undefined) return false;
    if (isSamePort) {
      present.sources = sources;
      present.port.setConfiguration(configuration);
      present.metadata?.setConfiguration(configuration);
      return true;
    }
    if (present !== undefined) close(present);
    ports.delete(id);
    const { clock, random, problems, userDataOf } = this.#options;
    const object = objectOf(id, settings);
    const common = { namespace: place.namespace, index, clock, random, configuration };
    try {
      const port = new AnsweringPort({
        ...common,
        onDeclined: (address) => this.#onDeclined(id, settings, address),
      });
      const answering = { inode, index, port, sources };
      ports.set(id, answering);
      if (configuration.told.metadata)
        ports.set(id, { ...answering, metadata: new MetadataPort({ ...common, userData: () => userDataOf(id) }) });
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

  #end(ports: Map<string, Answering>, id: string, answering: Answering): void {
    const { inode, index, port, sources } = answering;
    const place = this.#options.dataplane.network(sources.settings.name);
    // The endpoint is still there, and its network tells nothing any more.
    if (place?.namespace.inode === inode && place.dataplane.ports.indexOf(id) === index) port.sayFarewell();
    close(answering);
    ports.delete(id);
    this.#declined.delete(id);
  }

  #onDeclined(id: string, settings: NetworkSettings, address: IpAddress): void {
    const now = this.#options.clock.monotonic();
    const last = this.#declined.get(id);
    if (last !== undefined && now < last + declinedInterval) return;
    this.#declined.set(id, now);
    this.#options.report({
      ...{ level: "warning", kind: "refused", object: { ...objectOf(id, settings), kind: "endpoint" } },
      message: `it declines ${address}, which DHCP gave it: somebody answered for that address when it asked`,
    });
  }
}

function close({ port, metadata }: Answering): void {
  port.close();
  metadata?.close();
}

function isSame(a: Sources, b: Sources): boolean {
  return a.network === b.network && a.settings === b.settings && a.endpoint === b.endpoint;
}

function objectOf(key: string, { name, tenant }: Pick<NetworkSettings, "name" | "tenant">): KernelObject {
  return { kind: problemKind, tenant, network: name, key };
}

const problemKind = "DHCP of endpoint";
