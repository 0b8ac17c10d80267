import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { NodeExaminationSchema } from "../api/generated/weft/v1/admin_pb.js";
import { type ExamineRequest, QuestionSchema } from "../api/generated/weft/v1/diagnosis_pb.js";
import { messageOf } from "../base/errors.ts";
import type { Questions } from "./questions.ts";

/** Nodes that look at themselves at a time: each sends probes to others, which answer one after the other. */
const atOnce = 8;

/** Has nodes look at all of themselves, some at a time, and tells of each as soon as it has answered. */
export async function* examineNodes(
  nodes: readonly string[],
  questions: Pick<Questions, "askAsAdministrator">,
  request: ExamineRequest,
): AsyncGenerator<MessageInitShape<typeof NodeExaminationSchema>> {
  const left = [...nodes];
  const underWay = new Map<
    string,
    Promise<MessageInitShape<typeof NodeExaminationSchema> & { readonly node: string }>
  >();
  while (left.length > 0 || underWay.size > 0) {
    for (let node = left[0]; node !== undefined && underWay.size < atOnce; node = left[0]) {
      left.shift();
      underWay.set(node, examineNode(node, questions, request));
    }
    const examined = await Promise.race(underWay.values());
    underWay.delete(examined.node);
    yield examined;
  }
}

async function examineNode(node: string, questions: Pick<Questions, "askAsAdministrator">, request: ExamineRequest) {
  try {
    const question = create(QuestionSchema, { question: { case: "examine", value: request } });
    const { failure, findings, version } = await questions.askAsAdministrator(node, question);
    return { node, failure, findings, version };
  } catch (error) {
    return { node, failure: messageOf(error), findings: [], version: "" };
  }
}
