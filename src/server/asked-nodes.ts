import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Answer, QuestionSchema } from "../api/generated/weft/v1/diagnosis_pb.js";
import { messageOf } from "../base/errors.ts";
import type { Questions } from "./questions.ts";

/** Nodes that are asked at a time: each may send probes to others, which answer one after the other. */
const atOnce = 8;

/** What a node said, or why it said nothing. */
export interface NodeAnswer extends Pick<Answer, "failure" | "findings" | "version" | "events"> {
  readonly node: string;
}

/** Asks nodes the same for an administrator, some at a time, and tells of each as soon as it has answered. */
export async function* askNodes(
  nodes: readonly string[],
  questions: Pick<Questions, "askAsAdministrator">,
  question: MessageInitShape<typeof QuestionSchema>,
): AsyncGenerator<NodeAnswer> {
  const left = [...nodes];
  const underWay = new Map<string, Promise<NodeAnswer>>();
  while (left.length > 0 || underWay.size > 0) {
    for (let node = left[0]; node !== undefined && underWay.size < atOnce; node = left[0]) {
      left.shift();
      underWay.set(node, askNode(node, questions, question));
    }
    const answer = await Promise.race(underWay.values());
    underWay.delete(answer.node);
    yield answer;
  }
}

async function askNode(
  node: string,
  questions: Pick<Questions, "askAsAdministrator">,
  question: MessageInitShape<typeof QuestionSchema>,
): Promise<NodeAnswer> {
  try {
    const answer = await questions.askAsAdministrator(node, create(QuestionSchema, question));
    return { node, ...answer };
  } catch (error) {
    return { node, failure: messageOf(error), findings: [], version: "", events: [] };
  }
}
