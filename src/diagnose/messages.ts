import type { MessageInitShape } from "@bufbuild/protobuf";
import type {
  Finding as FindingMessage,
  FindingSchema,
  ProbeArrivals,
  ProbeArrivalsSchema,
  ProbeDepartures,
  ProbeDeparturesSchema,
  ProbeTrain,
  ProbeTrainSchema,
} from "../api/generated/weft/v1/diagnosis_pb.js";
import { nameOfObject } from "../dataplane/index.ts";
import type { Severity } from "./codes.ts";
import type { Finding } from "./finding.ts";
import type { Arrivals, Departures, Train } from "./probe/correspondence.ts";

/** What crosses the API of trains and findings. What comes from other nodes is checked by who uses it. */

export function trainToMessage({ id, network, sizes, interval }: Train): MessageInitShape<typeof ProbeTrainSchema> {
  return { id, network, sizes: [...sizes], interval };
}

export function trainFromMessage({ id, network, sizes, interval }: ProbeTrain): Train {
  return { id, network, sizes, interval };
}

export function arrivalsToMessage(arrivals: Arrivals): MessageInitShape<typeof ProbeArrivalsSchema> {
  const told = (list: Arrivals["atInterface"]) =>
    list.map(({ sequence, delay, isChanged }) => ({ sequence, delay: BigInt(Math.round(delay)), changed: isChanged }));
  return { atInterface: told(arrivals.atInterface), atTunnel: told(arrivals.atTunnel), missed: arrivals.missed };
}

export function arrivalsFromMessage(message: ProbeArrivals): Arrivals {
  const read = (list: ProbeArrivals["atInterface"]): Arrivals["atInterface"] =>
    list.map(({ sequence, delay, changed }) => ({ sequence, delay: Number(delay), isChanged: changed }));
  return { atInterface: read(message.atInterface), atTunnel: read(message.atTunnel), missed: message.missed };
}

export function departuresToMessage({
  sequences,
  refusals,
}: Departures): MessageInitShape<typeof ProbeDeparturesSchema> {
  return { sequences: [...sequences], refusals: refusals.map((refusal) => ({ ...refusal })) };
}

export function departuresFromMessage({ sequences, refusals }: ProbeDepartures): Departures {
  return {
    sequences,
    refusals: refusals.map(({ sequence, error, by, mtu }) => ({ sequence, error, by, mtu })),
  };
}

export function findingToMessage(finding: Finding): MessageInitShape<typeof FindingSchema> {
  const { object, ...rest } = finding;
  return { ...rest, object: nameOfObject(object), reference: object };
}

/** A finding as it is shown: of a node that may run another version, whose codes need not be known here. */
export interface ShownFinding extends Omit<Finding, "code" | "object"> {
  readonly code: string;
  readonly object: string;
}

export function showFinding({ object, ...finding }: Finding): ShownFinding {
  return { ...finding, object: nameOfObject(object) };
}

export function findingFromMessage(message: FindingMessage): ShownFinding {
  const { code, node, object, expected, found, cause, cure } = message;
  return { code, severity: severityOf(message.severity), node, object, expected, found, cause, cure };
}

function severityOf(text: string): Severity {
  return text === "warning" || text === "notice" ? text : "error";
}
