import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Answer, AskedQuestionSchema, Question } from "../api/generated/weft/v1/diagnosis_pb.js";
import type { Clock } from "../base/clock.ts";
import { type Duration, seconds } from "../base/duration.ts";
import { WeftError } from "../base/errors.ts";
import type { Fanout } from "./fanout.ts";
import type { State } from "./state.ts";

/** Questions of one node that wait for answers at a time. */
const waitingAtMost = 16;
/** A node that asks another one waits so long; administrators have it look at everything, which takes longer. */
const answerLimits: Readonly<Record<"node" | "administrator", Duration>> = {
  node: seconds(25),
  administrator: seconds(120),
};

interface Waiting {
  readonly node: string;
  readonly from: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: WeftError) => void;
}

/** Carries questions to nodes by their watches, and the answers back to whoever asked. Kept in memory: who asks can ask again. */
export class Questions {
  readonly #context: { readonly clock: Clock; readonly fanout: Fanout; readonly state: State };
  readonly #waiting = new Map<bigint, Waiting>();
  #last = 0n;

  constructor(context: { readonly clock: Clock; readonly fanout: Fanout; readonly state: State }) {
    this.#context = context;
  }

  /** One node asks another, with which it shares the network that the question is about. */
  askAsNode(from: string, node: string, question: Question): Promise<Answer> {
    const attempted = `ask node ${node}`;
    const network = networkOf(question);
    if (network === undefined)
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: "nodes may ask each other for probes and for the way of packets alone",
      });
    const hosts = this.#context.state.networks.get(network)?.hosts;
    if (hosts?.has(from) !== true || !hosts.has(node))
      throw new WeftError({
        code: "permission-denied",
        attempted,
        reason: `nodes ${from} and ${node} do not both host network ${network}`,
      });
    const waiting = [...this.#waiting.values()].filter((each) => each.from === from).length;
    if (waiting >= waitingAtMost)
      throw new WeftError({
        code: "exhausted",
        attempted,
        reason: `${waiting} questions of node ${from} wait already`,
      });
    return this.#ask(node, from, question, answerLimits.node);
  }

  askAsAdministrator(node: string, question: Question): Promise<Answer> {
    return this.#ask(node, "", question, answerLimits.administrator);
  }

  /** Says whether anybody waits for it: an answer may come too late. */
  answer(node: string, id: bigint, answer: Answer): boolean {
    const waiting = this.#waiting.get(id);
    if (waiting?.node !== node) return false;
    this.#waiting.delete(id);
    waiting.resolve(answer);
    return true;
  }

  close(): void {
    for (const { node, reject } of this.#waiting.values())
      reject(new WeftError({ code: "unavailable", attempted: `ask node ${node}`, reason: "the server is stopping" }));
    this.#waiting.clear();
  }

  #ask(node: string, from: string, question: Question, limit: Duration): Promise<Answer> {
    const { clock, fanout, state } = this.#context;
    const attempted = `ask node ${node}`;
    if (!state.nodes.has(node)) throw new WeftError({ code: "not-found", attempted, reason: "there is no such node" });
    if (!fanout.contactOf(node).connected)
      throw new WeftError({
        code: "unavailable",
        attempted,
        reason: "it is not connected to the server",
        hint: `see whether its agent runs: weft status, on node ${node}`,
      });
    const id = ++this.#last;
    const asked: MessageInitShape<typeof AskedQuestionSchema> = { id, from, question };
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    const cancel = clock.after(limit, () => {
      this.#waiting.delete(id);
      reject(new WeftError({ code: "unavailable", attempted, reason: `it did not answer within ${limit / 1_000} s` }));
    });
    this.#waiting.set(id, { node, from, resolve, reject });
    fanout.tell(node, { change: { case: "asked", value: asked } });
    return promise.finally(cancel);
  }
}

/** What a question of a node is about; `undefined`: such a question is for administrators. */
function networkOf({ question }: Question): string | undefined {
  switch (question.case) {
    case "expectTrain":
    case "sendTrain":
    case "countTrain":
    case "trace":
      return question.value.network;
    default:
      return undefined;
  }
}
