import { milliseconds } from "../../base/duration.ts";
import { nameRequestFilter } from "../../linux/index.ts";
import { networkMac } from "../../model/endpoint-mac.ts";
import { nodeAddress } from "../../model/node-address.ts";
import { PacedSocket } from "../dhcp/paced-socket.ts";
import { arpReply } from "../metadata/frames.ts";
import {
  type Answerer,
  PortAnswers,
  type PortAnswersOptions,
  type PortOfEndpoint,
  type Sources,
} from "../port-answers.ts";
import { answerTo } from "./answer.ts";
import type { EndpointNames } from "./endpoint-names.ts";
import { requestOf, responseFrame } from "./frames.ts";

/** Programs that keep nothing ask twice for each connection: for both families. */
const pace = { atOnce: 500, oneMoreEvery: milliseconds(4), receiveBuffer: 128 * 1024 };

export interface NameAnswersOptions extends Pick<PortAnswersOptions, "desired" | "dataplane" | "problems" | "clock"> {
  readonly names: EndpointNames;
  /** At least 0 and less than 1. */
  readonly random: () => number;
}

/** What answers endpoints of networks with `names` what others in their network are called. */
export function nameAnswers(options: NameAnswersOptions): PortAnswers {
  return new PortAnswers({
    ...options,
    problemKind: "names of endpoint",
    isWanted: ({ names }) => names,
    open: (port, sources) => new NamePort(options, port, sources),
  });
}

/**
 * Answers an endpoint's DNS at the node's address, at its port and at that port alone: whose names it may know follows from where the
 * frames come from, and no socket of the kernel's listens for any.
 */
class NamePort implements Answerer {
  readonly #options: NameAnswersOptions;
  readonly #socket: PacedSocket;
  #sources: Sources;

  constructor(options: NameAnswersOptions, { namespace, index }: PortOfEndpoint, sources: Sources) {
    this.#options = options;
    this.#sources = sources;
    this.#socket = new PacedSocket({
      ...{ namespace, index, clock: options.clock, ...pace },
      filter: nameRequestFilter(nodeAddress),
      onFrame: (frame) => this.#onFrame(frame),
    });
  }

  setSources(sources: Sources): void {
    this.#sources = sources;
  }

  close(): void {
    this.#socket.close();
  }

  #onFrame(frame: Uint8Array): void {
    const { network, settings, endpoint } = this.#sources;
    const { names, random } = this.#options;
    const request = requestOf(frame, endpoint);
    if (request === undefined) return;
    const ends = { mac: endpoint.mac, serverMac: networkMac(settings.vni) };
    if (request.kind === "arp") {
      // Where there is metadata, that has the same address and answers for it.
      if (network.dhcp?.metadata !== true) this.#socket.send(arpReply({ ...ends, own: request.own }));
      return;
    }
    const response = answerTo(request.message, network, names, random());
    if (response !== undefined) this.#socket.send(responseFrame(request, response, ends));
  }
}
