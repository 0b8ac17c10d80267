import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WeftError } from "../base/errors.ts";
import { defaultEncapsulation, encapsulations } from "../model/encapsulation.ts";
import { decodeFrame, readPcap } from "../wire/index.ts";
import { startCapture } from "./capture.ts";
import type { Lab } from "./lab.ts";
import { pause, runProgram } from "./process.ts";

export interface PingResult {
  readonly sent: number;
  readonly received: number;
  /** Milliseconds; absent when nothing came back. */
  readonly averageRtt?: number;
  /** Milliseconds between two answers, at the longest. */
  readonly longestGap: number;
}

/** Sends echo requests from a container and counts what comes back. `interval` in milliseconds. */
export async function ping(
  lab: Lab,
  from: string,
  to: string,
  options: { readonly count: number; readonly interval: number; readonly size?: number },
): Promise<PingResult> {
  using namespace = lab.namespace(from);
  const size = options.size === undefined ? [] : ["-M", "do", "-s", `${options.size}`];
  const { output } = await runProgram(namespace, "ping", [
    "-D",
    "-n",
    "-c",
    `${options.count}`,
    "-i",
    `${options.interval / 1000}`,
    "-W",
    "1",
    ...size,
    to,
  ]);
  const counts = /(\d+) packets transmitted, (\d+) received/.exec(output);
  const rtt = /rtt [^=]*= [\d.]+\/([\d.]+)/.exec(output);
  const times = [...output.matchAll(/^\[(\d+\.\d+)\]/gm)].map((match) => Number(match[1]) * 1000);
  let longestGap = 0;
  for (let index = 1; index < times.length; index++)
    longestGap = Math.max(longestGap, (times[index] ?? 0) - (times[index - 1] ?? 0));
  if (counts === null)
    throw new WeftError({
      code: "internal",
      attempted: `ping ${to} from ${from}`,
      reason: output || "no answer from ping",
    });
  return {
    sent: Number(counts[1]),
    received: Number(counts[2]),
    longestGap,
    ...(rtt?.[1] === undefined ? {} : { averageRtt: Number(rtt[1]) }),
  };
}

export interface TcpResult {
  /** Bits per second that arrived. */
  readonly rate: number;
  readonly bytes: number;
  readonly retransmits: number;
}

/** One TCP connection from one place to another for some seconds. Rejects when it breaks. */
export async function tcpStream(
  lab: Lab,
  from: string,
  to: string,
  address: string,
  options: { readonly duration: number; readonly rate?: string },
): Promise<TcpResult> {
  using source = lab.namespace(from);
  using target = lab.namespace(to);
  const server = target.spawn("iperf3", ["--server", "--one-off", "--port", "5999"], { stdio: "ignore" });
  const failed = once(server, "error").then(([error]) => {
    throw new WeftError({
      code: "failed-precondition",
      attempted: "measure TCP",
      reason: `iperf3 cannot be run: ${(error as Error).message}`,
      hint: "install the Debian package iperf3",
    });
  });
  try {
    await Promise.race([listening(lab, to, 5999), failed]);
    const rate = options.rate === undefined ? [] : ["--bitrate", options.rate];
    const { status, output } = await runProgram(source, "iperf3", [
      "--client",
      address,
      "--port",
      "5999",
      "--time",
      `${options.duration}`,
      "--json",
      ...rate,
    ]);
    const report = JSON.parse(output) as {
      readonly error?: string;
      readonly end?: {
        readonly sum_received?: { bits_per_second: number; bytes: number };
        readonly sum_sent?: { retransmits?: number };
      };
    };
    const received = report.end?.sum_received;
    if (status !== 0 || received === undefined)
      throw new WeftError({
        code: "unavailable",
        attempted: `send TCP from ${from} to ${to}`,
        reason: report.error ?? output,
      });
    return {
      rate: received.bits_per_second,
      bytes: received.bytes,
      retransmits: report.end?.sum_sent?.retransmits ?? 0,
    };
  } finally {
    failed.catch(() => {});
    server.kill("SIGKILL");
  }
}

/** Waits until somebody listens on the TCP port in the namespace of `place`. */
async function listening(lab: Lab, place: string, port: number): Promise<void> {
  using namespace = lab.namespace(place);
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const isListening = (): boolean =>
    namespace.run(() =>
      ["tcp", "tcp6"].some((table) =>
        new RegExp(`:${hex} [0-9A-F]+:0000 0A `).test(readFileSync(`/proc/thread-self/net/${table}`, "utf8")),
      ),
    );
  for (let tries = 0; tries < 300; tries++) {
    if (isListening()) return;
    await pause(10);
  }
  throw new WeftError({ code: "unavailable", attempted: "measure TCP", reason: "iperf3 does not listen" });
}

export interface WireCount {
  /** Frames that carried a tunnelled frame. */
  readonly tunnelled: number;
  /** Of those, how many carried ARP or neighbour discovery. */
  readonly addressResolution: number;
  /** Underlay packets that were fragments. */
  readonly fragments: number;
  /** Octets of the largest underlay IP packet. */
  readonly largestPacket: number;
}

/** Captures what the hosts send over the underlay during `action` and takes it apart. */
export async function captureUnderlay(lab: Lab, action: () => Promise<void>): Promise<WireCount> {
  const directory = mkdtempSync(join(tmpdir(), "weft-capture-"));
  try {
    const captures = await Promise.all(
      lab.hosts.map(async (host) => {
        using namespace = lab.namespace(host);
        const file = join(directory, `${host}.pcap`);
        const filter = `udp port ${encapsulations[defaultEncapsulation].port} or (ip[6:2] & 0x3fff != 0)`;
        return { file, capture: await startCapture(namespace, "eth0", file, { filter, direction: "out" }) };
      }),
    );
    try {
      await action();
    } finally {
      await Promise.all(captures.map(({ capture }) => capture.stop()));
    }
    return captures.map(({ file }) => countFrames(readFileSync(file))).reduce(sum);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const nothing: WireCount = { tunnelled: 0, addressResolution: 0, fragments: 0, largestPacket: 0 };

function countFrames(bytes: Uint8Array): WireCount {
  const capture = readPcap(bytes);
  if (!capture.ok) return nothing;
  return capture.value.packets.map(({ bytes: frame }) => countFrame(frame)).reduce(sum, nothing);
}

function countFrame(data: Uint8Array): WireCount {
  const { layers } = decodeFrame(data);
  const tunnel = layers.findIndex((layer) => layer.protocol === defaultEncapsulation);
  const inner = tunnel < 0 ? [] : layers.slice(tunnel + 1);
  const isResolution = inner.some(
    (layer) =>
      layer.protocol === "arp" ||
      (layer.protocol === "icmpv6" &&
        (layer.header.type === "neighbour-solicitation" || layer.header.type === "neighbour-advertisement")),
  );
  return {
    tunnelled: tunnel < 0 ? 0 : 1,
    addressResolution: isResolution ? 1 : 0,
    fragments: tunnel < 0 ? 1 : 0,
    largestPacket: data.length - 14,
  };
}

function sum(a: WireCount, b: WireCount): WireCount {
  return {
    tunnelled: a.tunnelled + b.tunnelled,
    addressResolution: a.addressResolution + b.addressResolution,
    fragments: a.fragments + b.fragments,
    largestPacket: Math.max(a.largestPacket, b.largestPacket),
  };
}
