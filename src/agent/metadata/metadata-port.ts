import type { Clock } from "../../base/clock.ts";
import { milliseconds } from "../../base/duration.ts";
import type { KernelNamespace } from "../../dataplane/kernel.ts";
import { metadataRequestFilter } from "../../linux/index.ts";
import { nodeAddress } from "../../model/node-address.ts";
import { type Configuration, configurationFrom } from "../dhcp/configuration.ts";
import { PacedSocket } from "../dhcp/paced-socket.ts";
import { PortAnswers, type PortAnswersOptions } from "../port-answers.ts";
import { documentsOf } from "./documents.ts";
import { arpReply, type Ends, type Ports, requestOf, segmentFrame } from "./frames.ts";
import { longestRequest, respond } from "./http.ts";
import { type Segment, TcpConnection } from "./tcp-connection.ts";

/** A request takes some ten frames of the endpoint, and one for each two segments of its user data. */
const pace = { atOnce: 64, oneMoreEvery: milliseconds(50), receiveBuffer: 64 * 1024 };
/** Of one endpoint at once: cloud-init makes one. */
const mostConnections = 8;
/** RFC 9110 §4.2.1. */
const httpPort = 80;
/** Octets of the headers of IPv4 and TCP, without options. */
const headers = 40;

export interface MetadataPortOptions {
  readonly namespace: KernelNamespace;
  /** Of the port. */
  readonly index: number;
  readonly clock: Clock;
  /** At least 0 and less than 1. */
  readonly random: () => number;
  readonly configuration: Configuration;
  /** What the endpoint's user wants it to know, as that is now. */
  readonly userData: () => Uint8Array | undefined;
}

export interface MetadataAnswersOptions
  extends Pick<PortAnswersOptions, "desired" | "dataplane" | "problems" | "clock"> {
  /** At least 0 and less than 1. */
  readonly random: () => number;
  /** What an endpoint of this node is to be told as its user data, by its id. */
  readonly userDataOf: (id: string) => Uint8Array | undefined;
}

/** What answers endpoints of networks with `dhcp.metadata` at the node's address. */
export function metadataAnswers(options: MetadataAnswersOptions): PortAnswers {
  const { clock, random, userDataOf } = options;
  return new PortAnswers({
    ...options,
    problemKind: "metadata of endpoint",
    isWanted: ({ dhcp }) => dhcp?.metadata === true,
    open(port, sources) {
      const { id } = sources.endpoint;
      const configuration = configurationFrom(sources);
      const metadata = new MetadataPort({ ...port, clock, random, configuration, userData: () => userDataOf(id) });
      return {
        setSources: (changed) => metadata.setConfiguration(configurationFrom(changed)),
        close: () => metadata.close(),
      };
    },
  });
}

/**
 * Answers an endpoint at the address of metadata, at its port and at that port alone: whose the documents are follows from where the
 * frames come from, and no socket of the kernel's listens for any.
 */
export class MetadataPort {
  readonly #options: MetadataPortOptions;
  readonly #socket: PacedSocket;
  #configuration: Configuration;
  /** By the endpoint's port. */
  readonly #connections = new Map<number, TcpConnection>();

  constructor(options: MetadataPortOptions) {
    const { namespace, index, clock, configuration } = options;
    this.#options = options;
    this.#configuration = configuration;
    this.#socket = new PacedSocket({
      ...{ namespace, index, clock, ...pace },
      filter: metadataRequestFilter(nodeAddress),
      onFrame: (frame) => this.#onFrame(frame),
    });
  }

  setConfiguration(configuration: Configuration): void {
    this.#configuration = configuration;
  }

  close(): void {
    for (const connection of [...this.#connections.values()]) connection.close();
    this.#socket.close();
  }

  /** `undefined`: an endpoint without an IPv4 address cannot ask. */
  get #ends(): Ends | undefined {
    const { mac, serverMac, ipv4 } = this.#configuration;
    return ipv4 && { mac, serverMac, own: ipv4.address };
  }

  #onFrame(frame: Uint8Array): void {
    const ends = this.#ends;
    if (ends === undefined) return;
    const request = requestOf(frame, ends);
    if (request?.kind === "arp") this.#socket.send(arpReply(ends));
    if (request?.kind === "segment") this.#onSegment(request.ports, request.segment);
  }

  #onSegment(ports: Ports, segment: Segment): void {
    const { ack, syn, rst } = segment.header;
    const isServed = ports.server === httpPort;
    const connection = isServed ? this.#connections.get(ports.client) : undefined;
    if (connection !== undefined) connection.receive(segment);
    else if (isServed && syn && !ack && !rst) this.#accept(ports.client, segment);
    else if (!rst) this.#send(ports, refusalOf(segment));
  }

  /** Who has as many as there may be tries again. */
  #accept(port: number, syn: Segment): void {
    if (this.#connections.size >= mostConnections) return;
    const { clock, random, userData } = this.#options;
    const { mtu } = this.#configuration;
    const connection = new TcpConnection(syn, {
      ...{ clock, longestRequest, segmentSize: mtu - headers, initialSequence: Math.floor(random() * 2 ** 32) },
      respond: (request) => respond(request, documentsOf(this.#configuration, userData())),
      send: (segment) => this.#send({ client: port, server: httpPort }, segment),
      onEnd: () => this.#connections.delete(port),
    });
    this.#connections.set(port, connection);
  }

  #send(ports: Ports, segment: Segment): void {
    const ends = this.#ends;
    if (ends !== undefined) this.#socket.send(segmentFrame(ports, segment, ends));
  }
}

/** To a segment of no connection that there is. RFC 9293 §3.10.7.1. */
function refusalOf({ header, data }: Segment): Segment {
  const { ack, syn, fin, sequence, acknowledgment } = header;
  const length = data.length + (syn ? 1 : 0) + (fin ? 1 : 0);
  const where = ack
    ? { sequence: acknowledgment, acknowledgment: 0 }
    : { sequence: 0, acknowledgment: (sequence + length) >>> 0, ack: true };
  return { header: { ...where, rst: true, window: 0, options: [] }, data: new Uint8Array() };
}
