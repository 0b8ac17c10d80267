import { create } from "@bufbuild/protobuf";
import { QuestionSchema, TraceQuestionSchema } from "../api/generated/weft/v1/diagnosis_pb.js";
import { cidrContains } from "../base/cidr.ts";
import { WeftError } from "../base/errors.ts";
import { answerFromMessage, questionToMessage } from "../diagnose/trace/messages.ts";
import type { KnownEndpoint, KnownNetwork, TraceDirectory } from "../diagnose/trace/parties.ts";
import type { AskNode } from "../diagnose/trace/question.ts";
import type { Questions } from "./questions.ts";
import type { State } from "./state.ts";

/** Who is where, in all networks. */
export function traceDirectory(state: State): TraceDirectory {
  return {
    endpoints(): Iterable<KnownEndpoint> {
      return state.endpoints.values();
    },
    *networks(): Iterable<KnownNetwork> {
      for (const { network } of state.networks.values()) yield network;
    },
    nodeOfBlock(network, address) {
      const blocks = [...(state.networks.get(network)?.ownedBlocks() ?? [])];
      return blocks.find(({ cidr }) => cidrContains(cidr, address))?.node;
    },
    nodeWith: (vtep) => state.nodeAt(vtep)?.name,
  };
}

export function askAsAdministrator(questions: Pick<Questions, "askAsAdministrator">): AskNode {
  return async (node, traced) => {
    const value = create(TraceQuestionSchema, questionToMessage(traced));
    const question = create(QuestionSchema, { question: { case: "trace", value } });
    const { failure, trace } = await questions.askAsAdministrator(node, question);
    if (failure === "" && trace !== undefined) return answerFromMessage(trace);
    const reason = failure === "" ? "it told nothing" : failure;
    throw new WeftError({ code: "unavailable", attempted: `ask node ${node}`, reason });
  };
}
