import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { certificateValidity } from "../api/join.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import { messageOf, type WeftError } from "../base/errors.ts";
import { NodeDataplane } from "../dataplane/index.ts";
import type { Kernel, KernelNamespace } from "../dataplane/kernel.ts";
import { examine } from "../diagnose/doctor.ts";
import { complete, type Finding } from "../diagnose/finding.ts";
import { readOnly } from "../diagnose/read-only-kernel.ts";
import type { Subject } from "../diagnose/subject.ts";
import { NetlinkSocket } from "../netlink/index.ts";
import { peersOf } from "./agent.ts";
import { DesiredState } from "./desired-state.ts";
import { loadCredentials } from "./identity-files.ts";
import { type Attachment, Replica } from "./replica.ts";
import { lastRun, type Run } from "./run.ts";
import { readUnderlay } from "./underlay.ts";

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
    return { node, findings: [stopped, failed] };
  }
}

async function examineRun(run: Run, kernel: Kernel): Promise<readonly Finding[]> {
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
    const subject = await subjectOf(run, { kernel, host, socket, clock, dataplane }, copy);
    const findings: Finding[] = [];
    for await (const examined of examine(subject)) if ("finding" in examined) findings.push(examined.finding);
    return findings;
  } finally {
    await dataplane.close();
    rmSync(copy, { recursive: true, force: true });
  }
}

/** So that nothing of the agent's is opened, upgraded or locked. */
function copyOfDatabase(dataDirectory: string): string {
  const directory = mkdtempSync(join(tmpdir(), "weft-doctor-"));
  for (const part of ["agent.db", "agent.db-wal"]) {
    const file = join(dataDirectory, part);
    if (existsSync(file)) copyFileSync(file, join(directory, part));
  }
  return directory;
}

async function subjectOf(
  run: Run,
  context: {
    readonly kernel: Kernel;
    readonly host: KernelNamespace;
    readonly socket: NetlinkSocket;
    readonly clock: Clock;
    readonly dataplane: NodeDataplane;
  },
  databaseDirectory: string,
): Promise<Subject> {
  const { socket, dataplane } = context;
  const { node } = run;
  const replica = new Replica(databaseDirectory);
  const attachments = new Map<string, Attachment>(replica.attachments().map((each) => [each.id, each]));
  const desired = new DesiredState({ node, dataplane, attachments });
  const networks = [...replica.networks()].map(({ network }) => network);
  const peers = peersOf(node, replica.nodes(), networks);
  const underlay = await readUnderlay(socket, { selectors: run.underlay, peers });
  const vteps = [underlay.vteps.ipv4, underlay.vteps.ipv6].filter((vtep) => vtep !== undefined);
  await dataplane.setUnderlay(vteps, underlay.interfaceIndex);
  desired.setUnderlay(underlay);
  for (const change of replica.state()) desired.apply(change);
  replica.close();
  // What it would change is refused, and told as its problems.
  await dataplane.start();
  const credentials = loadCredentials(run.dataDirectory);
  return {
    ...context,
    node,
    instance: run.instance,
    underlay: { vteps, interfaceName: underlay.interfaceName, mtu: underlay.mtu },
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
