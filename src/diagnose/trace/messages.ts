import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  TraceQuestion_Action as Actions,
  type TraceAnswer as AnswerMessage,
  type TraceHandover as HandoverMessage,
  type TracedPacket as PacketMessage,
  type TraceQuestion as QuestionMessage,
  type TraceStart as StartMessage,
  type TraceStep as StepMessage,
  type TraceAnswerSchema,
  type TracedJourneySchema,
  type TracedPacketSchema,
  type TraceHandoverSchema,
  type TraceQuestionSchema,
  type TraceRequest,
  type TraceStartSchema,
  type TraceStepSchema,
} from "../../api/generated/weft/v1/diagnosis_pb.js";
import { WeftError } from "../../base/errors.ts";
import { parseIp } from "../../base/ip.ts";
import { parseMac } from "../../base/mac.ts";
import type { Result } from "../../base/result.ts";
import { encapsulationNames, noTunnel, type TunnelEncapsulation } from "../../model/encapsulation.ts";
import type { TraceAction, TraceAnswer, TraceQuestion } from "./question.ts";
import {
  type End,
  type Handover,
  type Start,
  type Step,
  type StepName,
  type StepResult,
  type TracedPacket,
  tracedProtocols,
} from "./step.ts";
import type { Journey, TraceWish } from "./trace.ts";

/** What crosses the API of a trace. What nodes say of each other is checked here: they need not be of this version, nor honest. */

const attempted = "follow a packet";

const actionNames = {
  look: Actions.UNSPECIFIED,
  watch: Actions.WATCH,
  send: Actions.SEND,
  count: Actions.COUNT,
  end: Actions.END,
} as const satisfies Readonly<Record<TraceAction, Actions>>;

export function questionToMessage(question: TraceQuestion): MessageInitShape<typeof TraceQuestionSchema> {
  const { packet, start, action, ...rest } = question;
  return { ...rest, packet: packetToMessage(packet), start: startToMessage(start), action: actionNames[action] };
}

export function questionFromMessage({ network, packet, start, action, id, part }: QuestionMessage): TraceQuestion {
  const [name] = Object.entries(actionNames).find(([, number]) => number === action) ?? [];
  if (name === undefined || packet === undefined || start === undefined) throw malformed("the question is incomplete");
  return {
    network,
    packet: packetFromMessage(packet),
    start: startFromMessage(start),
    action: name as TraceAction,
    id,
    part,
  };
}

function packetToMessage({ isAnswer, ...rest }: TracedPacket): MessageInitShape<typeof TracedPacketSchema> {
  return { ...rest, answer: isAnswer };
}

function packetFromMessage(message: PacketMessage): TracedPacket {
  const { sourcePort, destinationPort, size, timeToLive, answer } = message;
  const protocol = tracedProtocols.find((each) => each === message.protocol);
  const isFit = [sourcePort, destinationPort, size].every((number) => number <= 65_535) && timeToLive <= 255;
  if (protocol === undefined || !isFit) throw malformed("the packet is none that can be");
  const [source, destination] = [right(parseIp(message.source)), right(parseIp(message.destination))];
  return { source, destination, protocol, sourcePort, destinationPort, size, timeToLive, isAnswer: answer };
}

function startToMessage(start: Start): MessageInitShape<typeof TraceStartSchema> {
  switch (start.kind) {
    case "endpoint":
      return { start: { case: "endpoint", value: start.address } };
    case "host":
      return { start: { case: "host", value: true } };
    case "arrival":
      return { start: { case: "arrival", value: handoverToMessage(start.handover) } };
  }
}

function startFromMessage({ start }: StartMessage): Start {
  switch (start.case) {
    case "endpoint":
      return { kind: "endpoint", address: right(parseIp(start.value)) };
    case "host":
      return { kind: "host" };
    case "arrival":
      return { kind: "arrival", handover: handoverFromMessage(start.value) };
    default:
      throw malformed("it begins nowhere");
  }
}

function handoverToMessage(handover: Handover): MessageInitShape<typeof TraceHandoverSchema> {
  const { tunnel, frame, ...rest } = handover;
  return {
    ...rest,
    encapsulation: tunnel?.encapsulation ?? "",
    port: tunnel?.port ?? 0,
    sourceMac: frame?.source ?? "",
    destinationMac: frame?.destination ?? "",
  };
}

function handoverFromMessage(message: HandoverMessage): Handover {
  const { network, timeToLive, encapsulation, port, sourceMac, destinationMac } = message;
  const known = encapsulationNames.find(
    (name): name is TunnelEncapsulation => name === encapsulation && name !== noTunnel,
  );
  if (encapsulation !== "" && known === undefined) throw malformed(`there is no encapsulation ${encapsulation}`);
  return {
    to: right(parseIp(message.to)),
    from: right(parseIp(message.from)),
    network,
    timeToLive,
    ...(known === undefined ? {} : { tunnel: { encapsulation: known, port } }),
    ...(destinationMac === ""
      ? {}
      : { frame: { source: right(parseMac(sourceMac)), destination: right(parseMac(destinationMac)) } }),
  };
}

export function answerToMessage(answer: TraceAnswer): MessageInitShape<typeof TraceAnswerSchema> {
  const { steps, end, clock, refusals } = answer;
  return {
    steps: steps.map(stepToMessage),
    end: end.kind,
    ...(end.kind === "handover" ? { handover: handoverToMessage(end.handover) } : {}),
    clock: BigInt(Math.round(clock)),
    refusals: refusals.map((refusal) => ({ ...refusal })),
  };
}

export function answerFromMessage({ steps, end, handover, clock, refusals }: AnswerMessage): TraceAnswer {
  return {
    steps: steps.map(stepFromMessage),
    end: endFromMessage(end, handover),
    clock: Number(clock),
    refusals: refusals.map(({ sequence, error, by, mtu }) => ({ sequence, error, by, mtu })),
  };
}

function endFromMessage(kind: string, handover: HandoverMessage | undefined): End {
  if (kind === "handover" && handover !== undefined) return { kind, handover: handoverFromMessage(handover) };
  return kind === "delivered" || kind === "outside" ? { kind } : { kind: "stopped" };
}

function stepToMessage({ observed, ...step }: Step): MessageInitShape<typeof TraceStepSchema> {
  return {
    ...step,
    ...(observed === undefined ? {} : { observed: { seen: observed.seen, first: BigInt(Math.round(observed.first)) } }),
  };
}

function stepFromMessage({ node, name, at, result, detail, cause, cure, observed }: StepMessage): Step {
  return {
    node,
    // One of a later version is shown as it is.
    name: name as StepName,
    at,
    result: result === "passes" || result === "stops" ? result : ("unknown" satisfies StepResult),
    detail,
    ...(cause === "" ? {} : { cause }),
    ...(cure === "" ? {} : { cure }),
    ...(observed === undefined ? {} : { observed: { seen: observed.seen, first: Number(observed.first) } }),
  };
}

function right<Value>(parsed: Result<Value, string>): Value {
  if (parsed.ok) return parsed.value;
  throw malformed(parsed.error);
}

function malformed(reason: string): WeftError {
  return new WeftError({ code: "invalid-argument", attempted, reason });
}

export function wishFromMessage(request: TraceRequest): TraceWish {
  const { from, to, protocol, port, size, timeToLive, dryRun } = request;
  return { from, to, protocol, size, timeToLive, dryRun, ...(port === undefined ? {} : { port }) };
}

export function journeyToMessage(journey: Journey): MessageInitShape<typeof TracedJourneySchema> {
  const { packet, legs, sentAt, ...rest } = journey;
  return {
    ...rest,
    packet: packetToMessage(packet),
    sentAt: BigInt(Math.round(sentAt)),
    legs: legs.map(({ node, failure = "", steps, clockOffset, clockUncertainty }) => ({
      node,
      failure,
      steps: steps.map(stepToMessage),
      clockOffset: BigInt(Math.round(clockOffset)),
      clockUncertainty: BigInt(Math.round(clockUncertainty)),
    })),
  };
}
