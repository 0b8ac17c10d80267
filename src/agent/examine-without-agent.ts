import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { TraceRequestSchema, type TraceResponse, TraceResponseSchema } from "../api/generated/weft/v1/diagnosis_pb.js";
import { certificateValidity } from "../api/join.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { NodeDataplane } from "../dataplane/index.ts";
import type { Kernel, KernelNamespace } from "../dataplane/kernel.ts";
import { fullDisk, starved } from "../diagnose/checks/host.ts";
import { examine } from "../diagnose/doctor.ts";
import { complete, type Finding } from "../diagnose/finding.ts";
import { readOnly } from "../diagnose/read-only-kernel.ts";
import type { Subject } from "../diagnose/subject.ts";
import { journeyToMessage, wishFromMessage } from "../diagnose/trace/messages.ts";
import type { AskNode } from "../diagnose/trace/question.ts";
import { TraceResponder } from "../diagnose/trace/responder.ts";
import { trace } from "../diagnose/trace/trace.ts";
import { NetlinkSocket } from "../netlink/index.ts";
import { peersOf } from "./agent.ts";
import { DesiredState } from "./desired-state.ts";
import { loadCredentials } from "./identity-files.ts";
import { type Attachment, hasPort, Replica } from "./replica.ts";
import { lastRun, type Run } from "./run.ts";
import { traceDirectory } from "./trace-directory.ts";
import { readUnderlay, type UnderlayState } from "./underlay.ts";

/**
 * What can be said of a node whose agent does not answer at `socketPath`: what the agent would change if it ran, from the last
 * state that it wrote, and nothing of the ways to other nodes. Changes nothing.
 */
export async function examineWithoutAgent(
  socketPath: string,
  refusal: WeftError,
  kernel: Kernel,
): Promise<{ readonly node: string; readonly findings: readonly Finding[] }> {
  const run = lastRun(dirname(socketPath));
  const node = run?.node ?? hostname();
  const stopped = complete(
    {
      code: "agent-stopped",
      object: { kind: "agent", key: socketPath },
      expected: "it answers at its socket",
      found: refusal.reason,
    },
    node,
  );
  if (run === undefined) return { node, findings: [stopped] };
  const held: Finding[] = [];
  if (isAgent(run.process)) for await (const draft of starved(run.process)) held.push(complete(draft, node));
  // It runs, and has no time to answer.
  if (held.length > 0) return { node, findings: held };
  try {
    return { node, findings: [stopped, ...(await examineRun(run, readOnly(kernel)))] };
  } catch (error) {
    const failed = complete(
      {
        code: "check-failed",
        object: { kind: "last state of the agent", key: run.dataDirectory },
        expected: "it can be read",
        found: messageOf(error),
      },
      node,
    );
    // A full disk is a reason for both.
    const drafts = existsSync(run.dataDirectory) ? [...fullDisk(run.dataDirectory)] : [];
    const full = drafts.map((draft) => complete(draft, node));
    return { node, findings: [stopped, ...full, failed] };
  }
}

/** Whether the process is an agent still: its number may be another's by now. */
function isAgent(process: number): boolean {
  try {
    return readFileSync(`/proc/${process}/cmdline`, "utf8").split("\0").includes("agent");
  } catch {
    return false;
  }
}

/** Ways of a packet as the tables of this node alone have them, while no agent answers at `socketPath`. Changes nothing, and sends nothing. */
export async function traceWithoutAgent(
  socketPath: string,
  refusal: WeftError,
  kernel: Kernel,
  request: MessageInitShape<typeof TraceRequestSchema>,
): Promise<TraceResponse> {
  const run = lastRun(dirname(socketPath));
  if (run === undefined) throw refusal;
  const wish = { ...wishFromMessage(create(TraceRequestSchema, request)), dryRun: true };
  const journeys = await withLastState(run, readOnly(kernel), async (node, state) => {
    const attached = state.attachments;
    const responder = new TraceResponder({
      node: {
        ...node,
        ...{ node: run.node, instance: run.instance },
        placeOf: (endpoint) => {
          const attachment = attached.get(endpoint);
          return attachment !== undefined && hasPort(attachment) ? attachment.place : undefined;
        },
      },
      vtepsOf: () => [],
    });
    const directory = traceDirectory({ ...state, attached, dataplane: node.dataplane, options: run });
    const ask: AskNode = async (name, question) => {
      if (name === run.node) return await responder.answer("", question);
      throw new WeftError({
        code: "unavailable",
        attempted: `ask node ${name}`,
        reason: "no agent runs here, which would ask it",
        hint: "systemctl start weft-agent",
      });
    };
    try {
      return await trace(wish, directory, ask);
    } finally {
      responder.close();
    }
  });
  return create(TraceResponseSchema, { journeys: journeys.map(journeyToMessage) });
}

/** A kernel that is looked at, and the dataplane as it would be made there. */
interface LookedAt {
  readonly kernel: Kernel;
  readonly host: KernelNamespace;
  readonly socket: NetlinkSocket;
  readonly clock: Clock;
  readonly dataplane: NodeDataplane;
}

function examineRun(run: Run, kernel: Kernel): Promise<readonly Finding[]> {
  return withLastState(run, kernel, async (node, state) => {
    const findings: Finding[] = [];
    for await (const examined of examine(subjectOf(run, node, state)))
      if ("finding" in examined) findings.push(examined.finding);
    return findings;
  });
}

/** What is asked of a node with the last state that its agent wrote. */
async function withLastState<Told>(
  run: Run,
  kernel: Kernel,
  use: (node: LookedAt, state: LastState) => Promise<Told>,
): Promise<Told> {
  const copy = copyOfDatabase(run.dataDirectory);
  using host = kernel.current();
  using socket = new NetlinkSocket({ channel: host.openChannel({}) });
  const clock = systemClock;
  const dataplane = new NodeDataplane({
    kernel,
    instance: run.instance,
    underlay: kernel.current(),
    clock,
    report() {},
  });
  try {
    const node = { kernel, host, socket, clock, dataplane };
    return await use(node, await lastStateOf(run, node, copy));
  } finally {
    await dataplane.close();
    rmSync(copy, { recursive: true, force: true });
  }
}

/** So that nothing of the agent's is opened, upgraded or locked. */
function copyOfDatabase(dataDirectory: string): string {
  const directory = mkdtempSync(join(tmpdir(), "weft-doctor-"));
  try {
    for (const part of ["agent.db", "agent.db-wal"]) {
      const file = join(dataDirectory, part);
      if (existsSync(file)) copyFileSync(file, join(directory, part));
    }
    return directory;
  } catch (error) {
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

/** What an agent knew when it last wrote. */
interface LastState {
  readonly desired: DesiredState;
  readonly attachments: ReadonlyMap<string, Attachment>;
  readonly underlay: UnderlayState;
}

async function lastStateOf(run: Run, { socket, dataplane }: LookedAt, databaseDirectory: string): Promise<LastState> {
  const { node } = run;
  const replica = new Replica(databaseDirectory);
  const attachments = new Map<string, Attachment>(replica.attachments().map((each) => [each.id, each]));
  const desired = new DesiredState({ node, dataplane, attachments });
  const networks = [...replica.networks()].map(({ network }) => network);
  const peers = peersOf(node, replica.nodes(), networks);
  const underlay = await readUnderlay(socket, { selectors: run.underlay, peers });
  await dataplane.setUnderlay(vtepsOf(underlay), underlay.interfaceIndex);
  desired.setUnderlay(underlay);
  for (const change of replica.state()) desired.apply(change);
  replica.close();
  // What it would change is refused, and told as its problems.
  await dataplane.start();
  return { desired, attachments, underlay };
}

function vtepsOf({ vteps: { ipv4, ipv6 } }: UnderlayState): readonly IpAddress[] {
  return [ipv4, ipv6].filter((vtep) => vtep !== undefined);
}

function subjectOf(run: Run, looked: LookedAt, { desired, attachments, underlay }: LastState): Subject {
  const { node } = run;
  const credentials = loadCredentials(run.dataDirectory);
  return {
    ...looked,
    node,
    instance: run.instance,
    underlay: { vteps: vtepsOf(underlay), interfaceName: underlay.interfaceName, mtu: underlay.mtu },
    peers: [...desired.nodes.values()]
      .filter(({ name }) => name !== node)
      .map(({ name, vtepAddresses: { ipv4, ipv6 } }) => ({
        name,
        vteps: [ipv4, ipv6].filter((vtep) => vtep !== undefined),
      })),
    *endpoints() {
      for (const endpoint of desired.own.values()) {
        const place = attachments.get(endpoint.id)?.place;
        if (place?.kind === "netns") yield { endpoint, place };
      }
    },
    // Whether it would be is not known while nobody speaks with it.
    server: { url: run.server, isConnected: true, error: "" },
    certificate:
      credentials === undefined
        ? { from: 0, until: Number.MAX_SAFE_INTEGER }
        : certificateValidity(credentials.certificate),
    dataDirectory: run.dataDirectory,
    droppedLately: () => false,
    pathsTo: 0,
  };
}
