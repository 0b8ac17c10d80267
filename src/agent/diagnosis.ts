import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Credentials, NodeConnection } from "../api/clients.ts";
import {
  type Answer,
  AnswerSchema,
  type AskedQuestion,
  type ExamineRequest,
  type ExamineResponseSchema,
  type Question,
  type QuestionSchema,
  type TraceRequest,
  type TraceResponseSchema,
} from "../api/generated/weft/v1/diagnosis_pb.js";
import { certificateValidity } from "../api/join.ts";
import { weftVersion } from "../api/version.ts";
import { minutes } from "../base/duration.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { type KernelObject, type NodeDataplane, nameOfObject } from "../dataplane/index.ts";
import type { KernelNamespace } from "../dataplane/kernel.ts";
import { type Examined, examine } from "../diagnose/doctor.ts";
import type { Finding } from "../diagnose/finding.ts";
import { fix } from "../diagnose/fixes.ts";
import {
  arrivalsFromMessage,
  arrivalsToMessage,
  departuresFromMessage,
  departuresToMessage,
  findingToMessage,
  trainFromMessage,
  trainToMessage,
} from "../diagnose/messages.ts";
import type { Correspondence } from "../diagnose/probe/correspondence.ts";
import { ProbeResponder } from "../diagnose/probe/responder.ts";
import type { ExaminedPeer, Subject } from "../diagnose/subject.ts";
import {
  answerFromMessage,
  answerToMessage,
  journeyToMessage,
  questionFromMessage,
  questionToMessage,
  wishFromMessage,
} from "../diagnose/trace/messages.ts";
import type { AskNode, TraceAnswer, TraceQuestion } from "../diagnose/trace/question.ts";
import { TraceResponder } from "../diagnose/trace/responder.ts";
import { trace } from "../diagnose/trace/trace.ts";
import { NetlinkSocket } from "../netlink/index.ts";
import type { DesiredState } from "./desired-state.ts";
import { type EventLog, eventToMessage } from "./event-log.ts";
import { type Attachment, hasPort } from "./replica.ts";
import { traceDirectory } from "./trace-directory.ts";
import type { UnderlayState } from "./underlay.ts";

/** How long what an endpoint tried to send counts as new. */
const lately = minutes(10);
/** What another node is given to answer, beside what it takes to get there; milliseconds. */
const askTimeout = 30_000;
/** Peers that ways are examined to when an administrator has all nodes look at themselves, at most. */
const peersAtMost = 100;

/** What is examined of an agent. */
interface ExaminedAgent {
  readonly options: Pick<Subject, "node" | "instance" | "kernel" | "clock" | "dataDirectory"> & {
    readonly server: string;
  };
  readonly dataplane: NodeDataplane;
  readonly desired: Pick<DesiredState, "nodes" | "own">;
  readonly attached: ReadonlyMap<string, Attachment>;
  readonly events: Pick<EventLog, "recent">;
  readonly underlay: UnderlayState;
  readonly serverState: { readonly state: string; readonly error: string };
  readonly credentials: Pick<Credentials, "certificate">;
}

/** Looks at this node when it is asked to, and helps others to look at the ways between them and it. */
export class Diagnosis {
  readonly #agent: ExaminedAgent;
  readonly #host: KernelNamespace;
  readonly #responder: ProbeResponder;
  readonly #tracer: TraceResponder;
  readonly #connection: () => NodeConnection | undefined;

  constructor(options: {
    readonly agent: ExaminedAgent;
    readonly host: KernelNamespace;
    /** To the server, while there is one. */
    readonly connection: () => NodeConnection | undefined;
  }) {
    this.#agent = options.agent;
    this.#host = options.host;
    this.#connection = options.connection;
    this.#responder = new ProbeResponder({
      host: options.host,
      dataplane: options.agent.dataplane,
      clock: options.agent.options.clock,
      vtepsOf: (node) => this.#vtepsOf(node),
    });
    const { options: of, dataplane, attached } = options.agent;
    this.#tracer = new TraceResponder({
      node: {
        node: of.node,
        instance: of.instance,
        kernel: of.kernel,
        clock: of.clock,
        host: options.host,
        dataplane,
        placeOf: (endpoint) => {
          const attachment = attached.get(endpoint);
          return attachment !== undefined && hasPort(attachment) ? attachment.place : undefined;
        },
      },
      vtepsOf: (node) => this.#vtepsOf(node),
    });
  }

  /** What is not as it should be, as it is found. With `fix` what is safe is mended then, and all is looked at again. */
  async *examine({
    peers,
    fix: isToFix,
  }: Pick<ExamineRequest, "peers" | "fix">): AsyncGenerator<Examined | { readonly fixed: Finding }> {
    using socket = new NetlinkSocket({ channel: this.#host.openChannel({}) });
    const subject = (): Subject => this.#subject(socket, Math.min(peers, peersAtMost));
    if (!isToFix) {
      yield* examine(subject());
      return;
    }
    const before: Finding[] = [];
    for await (const examined of examine(subject()))
      if ("finding" in examined) before.push(examined.finding);
      else yield examined;
    if (!(await fix(subject(), before))) {
      for (const finding of before) yield { finding };
      return;
    }
    const left = new Set<string>();
    for await (const examined of examine(subject())) {
      if ("finding" in examined) left.add(keyOf(examined.finding));
      yield examined;
    }
    for (const finding of before) if (!left.has(keyOf(finding))) yield { fixed: finding };
  }

  async *examineAsMessages(
    request: Pick<ExamineRequest, "peers" | "fix">,
  ): AsyncGenerator<MessageInitShape<typeof ExamineResponseSchema>> {
    for await (const examined of this.examine(request))
      yield "check" in examined
        ? { examined: { case: "check", value: examined.check } }
        : "fixed" in examined
          ? { examined: { case: "fixed", value: findingToMessage(examined.fixed) } }
          : { examined: { case: "finding", value: findingToMessage(examined.finding) } };
  }

  /** Answers a question that came by way of the server. */
  asked({ id, from, question }: AskedQuestion): void {
    this.#answerTo(from, question)
      .catch((error: unknown) => create(AnswerSchema, { failure: messageOf(error) }))
      // Whoever asked waits no longer if it does not get there.
      .then((answer) => this.#connection()?.client.answerQuestion({ id, answer }))
      .catch(() => {});
  }

  /** Follows a packet from or to an endpoint of this node. */
  async trace(request: TraceRequest): Promise<MessageInitShape<typeof TraceResponseSchema>> {
    const ask: AskNode = async (node, question) => {
      if (node === this.#agent.options.node) return await this.#tracer.answer("", question);
      const connection = this.#connection();
      if (connection === undefined)
        throw new WeftError({
          code: "unavailable",
          attempted: `ask node ${node}`,
          reason: "there is no connection to the server, by way of which nodes are asked",
        });
      return await askTrace(connection, node, question);
    };
    const journeys = await trace(wishFromMessage(request), traceDirectory(this.#agent), ask);
    return { journeys: journeys.map(journeyToMessage) };
  }

  close(): void {
    this.#responder.close();
    this.#tracer.close();
  }

  async #answerTo(from: string, asked: Question | undefined): Promise<Answer> {
    const question = asked?.question;
    switch (question?.case) {
      case "expectTrain":
        this.#responder.expect(from, trainFromMessage(question.value));
        return create(AnswerSchema);
      case "countTrain":
        return create(AnswerSchema, { arrivals: arrivalsToMessage(this.#responder.count(from, question.value.id)) });
      case "sendTrain": {
        const departures = await this.#responder.send(from, trainFromMessage(question.value));
        return create(AnswerSchema, { departures: departuresToMessage(departures) });
      }
      case "trace":
        return create(AnswerSchema, {
          trace: answerToMessage(await this.#tracer.answer(from, questionFromMessage(question.value))),
        });
      case "examine": {
        const findings: Finding[] = [];
        // What an administrator mends he mends on the node itself.
        for await (const examined of this.examine({ ...question.value, fix: false }))
          if ("finding" in examined) findings.push(examined.finding);
        return create(AnswerSchema, { findings: findings.map(findingToMessage), version: weftVersion() });
      }
      case "events": {
        const since = Number(question.value.since);
        const events = this.#agent.events.recent.filter(({ time }) => time >= since);
        return create(AnswerSchema, { events: events.map(eventToMessage) });
      }
      default:
        throw new WeftError({
          code: "unsupported",
          attempted: "answer a question",
          reason: "this version of weft does not know it",
        });
    }
  }

  #subject(socket: NetlinkSocket, pathsTo: number): Subject {
    const agent = this.#agent;
    const { options, dataplane, underlay, serverState } = agent;
    const connection = this.#connection();
    dataplane.tellDropped();
    return {
      node: options.node,
      instance: options.instance,
      kernel: options.kernel,
      clock: options.clock,
      host: this.#host,
      socket,
      dataplane,
      underlay: {
        vteps: [underlay.vteps.ipv4, underlay.vteps.ipv6].filter((vtep) => vtep !== undefined),
        interfaceName: underlay.interfaceName,
        mtu: underlay.mtu,
      },
      peers: this.#peers(),
      endpoints: () => this.#endpoints(),
      server: {
        url: options.server,
        isConnected: serverState.state !== "disconnected",
        error: serverState.error,
      },
      certificate: certificateValidity(agent.credentials.certificate),
      dataDirectory: options.dataDirectory,
      droppedLately: (object) => this.#droppedLately(object),
      pathsTo,
      ...(connection === undefined ? {} : { correspondence: correspondenceBy(connection) }),
    };
  }

  #peers(): readonly ExaminedPeer[] {
    const { desired, options } = this.#agent;
    return [...desired.nodes.keys()]
      .filter((name) => name !== options.node)
      .sort()
      .map((name) => ({ name, vteps: this.#vtepsOf(name) }));
  }

  #vtepsOf(node: string): readonly IpAddress[] {
    const { ipv4, ipv6 } = this.#agent.desired.nodes.get(node)?.vtepAddresses ?? {};
    return [ipv4, ipv6].filter((vtep) => vtep !== undefined);
  }

  *#endpoints() {
    const { attached, desired } = this.#agent;
    for (const endpoint of desired.own.values()) {
      const place = attached.get(endpoint.id)?.place;
      if (place?.kind === "netns") yield { endpoint, place };
    }
  }

  #droppedLately({ network, key }: KernelObject): boolean {
    const since = this.#agent.options.clock.now() - lately;
    return this.#agent.events.recent.some(
      ({ kind, object, time }) =>
        kind === "dropped" && time >= since && object.network === network && object.key === key,
    );
  }
}

function keyOf({ code, object }: Finding): string {
  return `${code} ${nameOfObject(object)}`;
}

async function askNode(
  { client }: NodeConnection,
  node: string,
  question: MessageInitShape<typeof QuestionSchema>,
): Promise<Answer> {
  const answer = await client.askNode({ node, question }, { timeoutMs: askTimeout });
  if (answer.failure === "") return answer;
  throw new WeftError({ code: "unavailable", attempted: `ask node ${node}`, reason: answer.failure });
}

async function askTrace(connection: NodeConnection, node: string, question: TraceQuestion): Promise<TraceAnswer> {
  const asked = { question: { case: "trace", value: questionToMessage(question) } } as const;
  const { trace: told } = await askNode(connection, node, asked);
  if (told !== undefined) return answerFromMessage(told);
  throw new WeftError({ code: "unavailable", attempted: `ask node ${node}`, reason: "it told nothing" });
}

function correspondenceBy(connection: NodeConnection): Correspondence {
  const ask = (node: string, question: MessageInitShape<typeof QuestionSchema>): Promise<Answer> =>
    askNode(connection, node, question);
  const networks = new Map<bigint, string>();
  return {
    async expectTrain(node, train) {
      networks.set(train.id, train.network);
      await ask(node, { question: { case: "expectTrain", value: trainToMessage(train) } });
    },
    async countTrain(node, id) {
      const network = networks.get(id) ?? "";
      networks.delete(id);
      const { arrivals } = await ask(node, { question: { case: "countTrain", value: { id, network } } });
      return arrivals === undefined ? { atInterface: [], atTunnel: [], missed: 0 } : arrivalsFromMessage(arrivals);
    },
    async sendTrain(node, train) {
      const { departures } = await ask(node, { question: { case: "sendTrain", value: trainToMessage(train) } });
      return departures === undefined ? { sequences: [], refusals: [] } : departuresFromMessage(departures);
    },
  };
}
