/** One case of the matrix in a lab: the network is made, two containers talk over it, and it is removed again. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { messageOf, WeftError } from "../../src/base/errors.ts";
import { familyOf, ip } from "../../src/base/ip.ts";
import { startCapture } from "../../src/lab/capture.ts";
import type { AttachedContainer, Lab } from "../../src/lab/lab.ts";
import { ping } from "../../src/lab/measure.ts";
import type { Vni } from "../../src/model/index.ts";
import { overheadOf } from "../../src/model/mtu.ts";
import { defaultGroup } from "../../src/model/network-rules.ts";
import { decodeFrame, readPcap } from "../../src/wire/index.ts";
import { patience, untilNextLook } from "../support/patience.ts";
import { familiesOf, isDirect, type MatrixCase, networkOf } from "./cases.ts";
import {
  decodeOptions,
  describeOuter,
  expectedOuter,
  type OuterHeader,
  readRequest,
  type SentRequest,
} from "./outer-header.ts";
import { transfer } from "./transfer.ts";

export const checkNames = ["ping", "tcp", "fullSize", "outer"] as const;
export type CheckName = (typeof checkNames)[number];

export interface Check {
  readonly passed: boolean;
  /** What was measured, or why it failed. */
  readonly text: string;
}

export type Outcome =
  /** The server does not take such a network, in its words. */
  | { readonly kind: "refused"; readonly reason: string }
  /** The kernel lacks what it takes, in its words. */
  | { readonly kind: "missing"; readonly reason: string }
  /** It did not come so far that anything could be checked. */
  | { readonly kind: "failed"; readonly reason: string }
  | {
      readonly kind: "tried";
      readonly checks: Readonly<Record<CheckName, Check>>;
      /** As captured; absent: no such packet was seen, or there was none. */
      readonly outer?: OuterHeader;
      /** Addresses of the container that was spoken to. */
      readonly target: readonly string[];
    };

const tenant = "matrix";
const underlayMtu = 1500;
const octetsToSend = 1_000_000;
/**
 * What RTM_NEWLINK answers to a kind of device that the kernel does not have (net/core/rtnetlink.c), and what nft says of
 * tables that it does not have.
 */
const lacking = /EOPNOTSUPP: Unknown device type|Could not process rule: Operation not supported/;

/** Tries a case on the first two hosts of the lab; what crosses the first host's underlay goes to `captureFile`. */
export async function attempt(lab: Lab, each: MatrixCase, captureFile: string): Promise<Outcome> {
  const network = { case: "network" as const, value: networkOf(each, tenant, lab.hosts.length) };
  try {
    await lab.admin.apply({
      resources: [{ resource: { case: "tenant", value: { name: tenant } } }, { resource: network }],
    });
  } catch (error) {
    const isRefusal = error instanceof WeftError && error.code === "invalid-argument";
    return { kind: isRefusal ? "refused" : "failed", reason: messageOf(error) };
  }
  const undo: (() => Promise<unknown>)[] = [
    () => lab.admin.delete({ resources: [{ kind: "network", name: network.value.name ?? "" }] }),
  ];
  const outcome = await speak(lab, each, captureFile, undo);
  for (const step of undo) await step();
  const left = await withdrawn(lab);
  return left === undefined || outcome.kind === "failed"
    ? outcome
    : { kind: "failed", reason: `once removed: ${left}` };
}

/** Two containers talk. What takes back what was made is put in front of `undo`. */
async function speak(
  lab: Lab,
  each: MatrixCase,
  captureFile: string,
  undo: (() => Promise<unknown>)[],
): Promise<Outcome> {
  const containers: AttachedContainer[] = [];
  try {
    for (const [container, host] of [
      ["c1", "h1"],
      ["c2", "h2"],
    ] as const) {
      lab.addContainer(container);
      undo.unshift(async () => lab.removeContainer(container));
      containers.push(await lab.attach(container, host, "net"));
      undo.unshift(() => lab.detach(container, host, "net"));
    }
    const trouble = await settled(lab, each);
    if (trouble.length > 0) return failureOf(trouble);
    const [, target] = containers as [AttachedContainer, AttachedContainer];
    const before = await writesOf(lab);
    const outcome = await measure(lab, each, target, captureFile);
    // Traffic is the kernel's own business: an agent that writes meanwhile takes news of its own rows for damage.
    const writes = (await writesOf(lab)) - before;
    return writes === 0
      ? outcome
      : failureOf([`the agents wrote to their kernels ${writes} times while nothing changed`]);
  } catch (error) {
    return failureOf([...(await problemsOf(lab)), messageOf(error)]);
  }
}

/** What the kernel lacks explains everything else. */
function failureOf(reasons: readonly string[]): Outcome {
  const missing = reasons.find((reason) => lacking.test(reason));
  return missing === undefined ? { kind: "failed", reason: reasons.join("; ") } : { kind: "missing", reason: missing };
}

async function problemsOf(lab: Lab): Promise<readonly string[]> {
  const all = await Promise.all(lab.hosts.map((host) => lab.agent(host).getStatus({})));
  return all.flatMap(({ problems }) => problems.map(({ object, reason }) => `${object}: ${reason}`));
}

/** Waits until both hosts know of each other, and their kernels too; what stands in the way of it after a while. */
async function settled(lab: Lab, each: MatrixCase): Promise<readonly string[]> {
  const end = performance.now() + patience;
  for (;;) {
    const began = performance.now();
    const all = await Promise.all(["h1", "h2"].map((host) => lab.agent(host).getStatus({})));
    const problems = all.flatMap(({ problems }) => problems.map(({ object, reason }) => `${object}: ${reason}`));
    const isReady = all.every(({ inSync, networks: [network] }) => {
      const known = each.mode === "l2" ? network?.remoteEndpoints : network?.remoteBlocks;
      return inSync && known === (each.mode === "l2" ? 1 : familiesOf(each).length);
    });
    if (problems.length === 0 && isReady) return [];
    if (problems.some((reason) => lacking.test(reason))) return problems;
    if (performance.now() > end) return problems.length > 0 ? problems : ["the agents have not heard of each other"];
    await sleep(untilNextLook(began));
  }
}

async function writesOf(lab: Lab): Promise<number> {
  const all = await Promise.all(lab.hosts.map((host) => lab.agent(host).getStatus({})));
  return all.reduce((sum, { netlinkWrites }) => sum + Number(netlinkWrites), 0);
}

/** Waits until nothing of the network is left on any host; what is, after a while. */
async function withdrawn(lab: Lab): Promise<string | undefined> {
  const end = performance.now() + patience;
  for (;;) {
    const began = performance.now();
    const all = await Promise.all(lab.hosts.map((host) => lab.agent(host).getStatus({})));
    if (all.every(({ inSync, networks }) => inSync && networks.length === 0)) return undefined;
    if (performance.now() > end) {
      const left = all.flatMap(({ node, networks }) => networks.map(({ name }) => `${name} is still on ${node}`));
      return [...left, ...(await problemsOf(lab))].join("; ") || "agents are not in sync";
    }
    await sleep(untilNextLook(began));
  }
}

async function measure(lab: Lab, each: MatrixCase, target: AttachedContainer, captureFile: string): Promise<Outcome> {
  using host = lab.namespace("h1");
  // All but what agents and server say to each other.
  const capture = await startCapture(host, "eth0", captureFile, { filter: "not tcp port 7400" });
  let echo: Check;
  let fullSize: Check;
  try {
    echo = await checkEach(target, (address) => checkPing(lab, address));
    fullSize = await checkEach(target, (address) => checkFullSize(lab, address, target.mtu));
  } finally {
    await capture.stop();
  }
  const tcp = await checkEach(target, (address) => checkTransfer(lab, address));
  const frames = readFrames(captureFile);
  const requests = target.ips.map((address) => frames.flatMap((frame) => readRequest(frame, address, each) ?? []));
  const header = requests.flat()[0]?.outer;
  return {
    kind: "tried",
    checks: {
      ping: echo,
      tcp,
      fullSize: fullSize.passed ? checkLargest(each, target, requests.flat()) : fullSize,
      outer: checkOuter(each, target, requests, frames),
    },
    ...(header === undefined ? {} : { outer: header }),
    target: target.ips,
  };
}

/** The same for each address; the first that fails is what failed. */
async function checkEach(target: AttachedContainer, check: (address: string) => Promise<string>): Promise<Check> {
  let text = "";
  for (const address of target.ips)
    try {
      text = await check(address);
    } catch (error) {
      return { passed: false, text: `${address}: ${messageOf(error)}` };
    }
  return { passed: true, text };
}

async function checkPing(lab: Lab, address: string): Promise<string> {
  const { sent, received } = await ping(lab, "c1", address, { count: 3, interval: 20 });
  const text = `${received} of ${sent} requests were answered`;
  if (received !== sent) throw new Error(text);
  return text;
}

async function checkFullSize(lab: Lab, address: string, mtu: number): Promise<string> {
  // IP header and ICMP header: RFC 791 and RFC 792, RFC 8200 and RFC 4443.
  const headers = (familyOf(ip(address)) === 4 ? 20 : 40) + 8;
  const full = await ping(lab, "c1", address, { count: 2, interval: 20, size: mtu - headers });
  if (full.received !== full.sent)
    throw new Error(`${full.received} of ${full.sent} packets of ${mtu} octets were answered`);
  const more = await ping(lab, "c1", address, { count: 1, interval: 20, size: mtu + 1 - headers });
  if (more.received !== 0) throw new Error(`a packet of ${mtu + 1} octets was answered`);
  return String(mtu);
}

/** What fills the network's MTU fills the underlay's, in one piece. */
function checkLargest(each: MatrixCase, { mtu }: AttachedContainer, requests: readonly SentRequest[]): Check {
  const fitting = underlayMtu - overheadOf(each).octets;
  if (mtu !== fitting) return { passed: false, text: `the MTU is ${mtu}, and ${fitting} would fit` };
  const largest = Math.max(...requests.map(({ length }) => length));
  const wanted = isDirect(each) ? mtu : underlayMtu;
  return largest === wanted
    ? { passed: true, text: String(mtu) }
    : { passed: false, text: `${mtu}, but the largest packet on the underlay has ${largest} octets, not ${wanted}` };
}

async function checkTransfer(lab: Lab, address: string): Promise<string> {
  using from = lab.namespace("c1");
  using to = lab.namespace("c2");
  const { octets, sentHash, receivedHash } = await transfer(from, to, address, octetsToSend);
  if (sentHash !== receivedHash)
    throw new Error(`${octets} octets sent have SHA-256 ${sentHash}, received ${receivedHash}`);
  return `SHA-256 ${sentHash.slice(0, 8)}… at both ends`;
}

function checkOuter(
  each: MatrixCase,
  target: AttachedContainer,
  requests: readonly (readonly SentRequest[])[],
  frames: readonly Uint8Array[],
): Check {
  const texts = new Set<string>();
  for (const [index, sent] of requests.entries()) {
    const address = target.ips[index] ?? "";
    if (sent.length === 0) return { passed: false, text: `no packet to ${address} on the underlay` };
    const expected = describeOuter(expectedOuter(each, familyOf(ip(address))));
    const other = sent.map(({ outer }) => describeOuter(outer)).find((text) => text !== expected);
    if (other !== undefined) return { passed: false, text: `${other}, not ${expected}` };
    texts.add(expected);
  }
  const wanted = [...texts].join("; ");
  if (frames.some((frame) => decodeFrame(frame, decodeOptions(each)).layers.some(isFragment)))
    return { passed: false, text: `${wanted}, in fragments` };
  if (each.discovery !== "multicast") return { passed: true, text: wanted };
  const group = defaultGroup(each.vni as Vni, each.underlay);
  return frames.some((frame) => isFloodedTo(frame, group, each))
    ? { passed: true, text: `${wanted}; flooded to ${group}` }
    : { passed: false, text: `${wanted}, but nothing is flooded to ${group}` };
}

function isFloodedTo(frame: Uint8Array, group: string, each: MatrixCase): boolean {
  const { layers } = decodeFrame(frame, decodeOptions(each));
  return (
    layers.some(({ protocol }) => protocol === "vxlan") &&
    layers.some(({ protocol, header }) => (protocol === "ipv4" || protocol === "ipv6") && header.destination === group)
  );
}

function isFragment({ protocol, header }: ReturnType<typeof decodeFrame>["layers"][number]): boolean {
  if (protocol === "ipv6-fragment") return true;
  return protocol === "ipv4" && (header.moreFragments || header.fragmentOffset > 0);
}

function readFrames(file: string): Uint8Array[] {
  const capture = readPcap(new Uint8Array(readFileSync(file)));
  if (!capture.ok) throw new Error(`${file}: not a capture`);
  return capture.value.packets.map(({ bytes }) => bytes);
}
