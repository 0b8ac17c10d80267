import { closeSync, openSync, writeSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { longestTimer } from "../../base/clock.ts";
import { type Duration, formatDuration, milliseconds } from "../../base/duration.ts";
import { messageOf, WeftError } from "../../base/errors.ts";
import type { IpAddress } from "../../base/ip.ts";
import type { Capture, CapturedPacket, PointKind, Reading, SourceCounts } from "../../diagnose/capture/index.ts";
import { UsageError } from "../errors.ts";
import {
  address,
  agentOption,
  duration,
  examples,
  integer,
  networkName,
  outputOption,
  type WithAgent,
  type WithOutput,
} from "../options.ts";
import { showNext } from "../output.ts";
import { requireRoot } from "../privilege.ts";
import { paint, type Surface } from "../table.ts";
import { printError } from "../terminal.ts";

type CaptureOptions = WithAgent &
  WithOutput & {
    readonly endpoint?: string;
    readonly network?: string;
    readonly vtep?: readonly IpAddress[];
    readonly at?: readonly PointKind[];
    readonly inner?: string;
    readonly write?: string;
    readonly count?: number;
    readonly for?: Duration;
    readonly size: number;
    readonly snapLength: number;
  };

/** `src/diagnose/capture/packet.ts` has them; help and completion do without loading it. */
const points: readonly PointKind[] = ["port", "container", "bridge", "tunnel", "underlay"];
/** Octets that are kept of a packet at most: more than any has. */
const wholePacket = 262_144;
const octetsPerMegabyte = 1_000_000;

export function registerCapture(program: Command): void {
  const capture = program
    .command("capture [filter...]")
    .description("packets of endpoints, networks and tunnels on this node, live or to a file")
    .option("--endpoint <endpoint>", "of an endpoint: its id, MAC, address or namespace")
    .addOption(new Option("--network <network>", "of a network").argParser(networkName))
    .addOption(
      new Option("--vtep <address[,address]>", "in tunnels to and from a VTEP, or between two").argParser(vteps),
    )
    .addOption(new Option("--at <points>", `where, with commas between: ${points.join(", ")}`).argParser(pointList))
    .option("--inner <filter>", "only tenants' packets that are so: in their tunnel on the underlay, else as they are")
    .option("-w, --write <file>", "write a pcapng file; -: to standard output")
    .addOption(new Option("--count <packets>", "end after so many").argParser(integer(1, Number.MAX_SAFE_INTEGER)))
    .addOption(new Option("--for <duration>", "end after so long").argParser(duration))
    .addOption(
      new Option("--size <megabytes>", "end when the file is as large").argParser(integer(1, 1_000_000)).default(100),
    )
    .addOption(
      new Option("--snap-length <octets>", "what the file keeps of each packet")
        .argParser(integer(64, wholePacket))
        .default(wholePacket, "all"),
    )
    .addOption(agentOption())
    .addOption(outputOption())
    .action(async (filter: readonly string[], options: CaptureOptions) => {
      refuseCombinations(capture, options);
      requireRoot("capture packets");
      await run(filter.join(" "), options);
    });
  examples(
    capture,
    "weft capture --network web",
    "weft capture --endpoint 10.1.0.2 --at port,underlay icmp",
    "weft capture --vtep 192.0.2.1,192.0.2.2 --inner 'tcp port 443'",
    "weft capture --network web --write web.pcapng --for 30s",
    "ssh h1 weft capture --network web -w - | wireshark -k -i -",
  );
}

function refuseCombinations(command: Command, options: CaptureOptions): void {
  const isGiven = (name: string): boolean => command.getOptionValueSource(name) === "cli";
  const refuse = (reason: string): never => {
    throw new UsageError("capture", reason, "weft capture --help");
  };
  if (options.write === undefined) {
    for (const [name, flag] of [
      ["size", "--size"],
      ["snapLength", "--snap-length"],
    ] as const)
      if (isGiven(name)) refuse(`${flag} is of the file that --write names`);
  } else {
    if (isGiven("output")) refuse("a file has its own form: --output is of what is shown");
    if (options.write === "-" && process.stdout.isTTY) refuse("a terminal shows no capture file: lead it to a program");
  }
}

/** What a capture came to. */
interface Tally {
  packets: number;
  /** Of these, packets that were cut to the snap length. */
  cut: number;
  /** Why it ended. */
  end: string;
}

async function run(filter: string, options: CaptureOptions): Promise<void> {
  const [{ agentClient }, { openCapture, placeName, Reader }, { NetworkNamespace }] = await Promise.all([
    import("../../api/clients.ts"),
    import("../../diagnose/capture/index.ts"),
    import("../../linux/index.ts"),
  ]);
  const view = await agentClient(options.agent).getStatus({});
  const inner = options.inner ?? "";
  const capture = await openCapture({
    view,
    selection: {
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      ...(options.network === undefined ? {} : { network: options.network }),
      ...(options.vtep === undefined ? {} : { vteps: options.vtep }),
      ...(options.at === undefined ? {} : { at: options.at }),
    },
    host: () => NetworkNamespace.current(),
    ...{ filter, inner, snapLength: options.snapLength },
    onNote: (note) => printError(`weft: ${note}\n`),
  });
  const abort = new AbortController();
  const tally: Tally = { packets: 0, cut: 0, end: "" };
  const endBy = (why: string) => () => {
    tally.end ||= why;
    abort.abort();
  };
  const onSignal = endBy("a signal");
  // A second one ends it at once.
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  const timer = options.for === undefined ? undefined : setTimeout(endBy("--for"), Math.min(options.for, longestTimer));
  const began = performance.now();
  try {
    const names = new Map(capture.places.map((place) => [place, placeName(place)]));
    using sink = await openSink(options, capture, names, filter, inner);
    const reader = new Reader(view, capture.decode);
    printError(`weft: capturing at ${listed([...new Set(names.values())])}; Ctrl-C ends it\n`);
    for await (const packets of capture.packets(abort.signal)) {
      for (const packet of packets) {
        await sink.add(packet, reader.read(packet));
        tally.packets++;
        if (packet.bytes.length < packet.originalLength) tally.cut++;
        if (tally.packets === options.count) endBy("--count")();
        if (sink.isFull) endBy("--size")();
        if (tally.end === "--count" || tally.end === "--size") break;
      }
      sink.flush();
      if (tally.end === "--count" || tally.end === "--size") break;
    }
    const counts = capture.sources.map((source) => source.counts());
    sink.finish(counts);
    tell(tally, milliseconds(performance.now() - began), counts);
  } finally {
    clearTimeout(timer);
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    abort.abort();
    capture.close();
  }
}

type PlaceNames = ReadonlyMap<CapturedPacket["place"], string>;

/** Where packets go. */
interface Sink {
  add(packet: CapturedPacket, reading: Reading): Promise<void> | void;
  flush(): void;
  readonly isFull: boolean;
  finish(counts: readonly SourceCounts[]): void;
  [Symbol.dispose](): void;
}

async function openSink(
  options: CaptureOptions,
  capture: Capture,
  names: PlaceNames,
  filter: string,
  inner: string,
): Promise<Sink> {
  if (options.write === undefined) return lines(options, names);
  const [{ CaptureFile }, { weftVersion }] = await Promise.all([
    import("../../diagnose/capture/index.ts"),
    import("../../api/version.ts"),
  ]);
  const target = openTarget(options.write);
  let waiting: Uint8Array[] = [];
  const file = new CaptureFile(
    {
      program: `weft ${weftVersion()}`,
      snapLength: options.snapLength,
      filter: [filter, ...(inner === "" ? [] : [`inner: ${inner}`])].filter((text) => text !== "").join("; "),
      write: (octets) => waiting.push(octets),
    },
    capture.places,
  );
  const flush = (): void => {
    if (waiting.length > 0) target.write(Buffer.concat(waiting));
    waiting = [];
  };
  try {
    flush();
  } catch (error) {
    target.close();
    throw error;
  }
  // Whoever reads what is written has a bound of his own.
  const limit = options.write === "-" ? Number.POSITIVE_INFINITY : options.size * octetsPerMegabyte;
  return {
    add: (packet, reading) => file.add(packet, reading),
    flush,
    get isFull() {
      return file.size >= limit;
    },
    finish(counts) {
      file.finish(counts, BigInt(Date.now()) * 1_000_000n);
      flush();
    },
    [Symbol.dispose]: () => target.close(),
  };
}

function openTarget(path: string): { write(octets: Uint8Array): void; close(): void } {
  if (path === "-") return { write: (octets) => process.stdout.write(octets), close() {} };
  const attempted = `write ${path}`;
  let fd: number;
  try {
    // It has what tenants say to each other; and what is there already, a link perhaps, stays as it is.
    fd = openSync(path, "wx", 0o600);
  } catch (error) {
    const isThere = (error as NodeJS.ErrnoException).code === "EEXIST";
    throw new WeftError({
      code: isThere ? "already-exists" : "failed-precondition",
      attempted,
      reason: isThere ? "it is there already" : messageOf(error),
      ...(isThere ? { hint: "remove it, or give another name" } : {}),
    });
  }
  return {
    write(octets) {
      try {
        for (let written = 0; written < octets.length; ) written += writeSync(fd, octets, written);
      } catch (error) {
        throw new WeftError({
          code: "failed-precondition",
          attempted,
          reason: messageOf(error),
          hint: "what was written until then stays and can be read",
        });
      }
    },
    close: () => closeSync(fd),
  };
}

function lines({ output }: CaptureOptions, names: PlaceNames): Sink {
  const width = Math.max(...Array.from(names.values(), (name) => name.length));
  return {
    add: (packet, reading) =>
      showNext(output, recordOf(packet, reading), (surface) =>
        lineOf(packet, (names.get(packet.place) ?? "").padEnd(width), reading, surface),
      ),
    flush() {},
    isFull: false,
    finish() {},
    [Symbol.dispose]() {},
  };
}

/** `13:28:43.123456 ve49ba1784b07b in  IP 10.1.0.1 > 10.1.0.2: ICMP echo request, id 1, seq 1, length 64 {web 49ba1784b07b > -}` */
function lineOf({ time, direction }: CapturedPacket, place: string, reading: Reading, surface: Surface): string {
  const { text, network, from, to, notes } = reading;
  const moment = instantOf(time).slice(11, -4);
  const ends = from === undefined && to === undefined ? "" : ` ${from ?? "-"} > ${to ?? "-"}`;
  const whose = network === undefined ? "" : `{${network}${ends}}`;
  const remarks = notes.map((note) => paint(`[${note}]`, note.startsWith("wrong") ? "bad" : "dim", surface));
  const words = [
    paint(moment, "dim", surface),
    place,
    direction.padEnd(3),
    text,
    ...remarks,
    ...(whose === "" ? [] : [paint(whose, "dim", surface)]),
  ];
  return `${words.join(" ")}\n`;
}

function recordOf({ time, place, direction, originalLength }: CapturedPacket, { text, ...reading }: Reading) {
  const { node, namespace, interface: name, kind } = place;
  return {
    ...{ time: instantOf(time), node, namespace, interface: name, point: kind, direction, length: originalLength },
    ...{ ...reading, text },
  };
}

/** RFC 3339 in UTC, to the nanosecond. */
function instantOf(time: bigint): string {
  const seconds = new Date(Number(time / 1_000_000_000n) * 1_000).toISOString().slice(0, -5);
  return `${seconds}.${String(time % 1_000_000_000n).padStart(9, "0")}Z`;
}

/** More names than this do not help. */
const mostNames = 5;

function listed(names: readonly string[]): string {
  const more = names.length > mostNames ? ` and ${names.length - mostNames} more` : "";
  return `${names.slice(0, mostNames).join(", ")}${more}`;
}

/** Says what it came to. Throws when something is missing in it. */
function tell({ packets, cut, end }: Tally, took: Duration, counts: readonly SourceCounts[]): void {
  const received = counts.reduce((sum, each) => sum + each.received, 0);
  const dropped = counts.reduce((sum, each) => sum + each.dropped, 0);
  const cutText = cut === 0 ? "" : `, ${cut} of them cut`;
  printError(`weft: ${packets} packets in ${formatDuration(took)}${cutText}; ended by ${end}\n`);
  if (dropped === 0) return;
  throw new WeftError({
    code: "exhausted",
    attempted: "capture all packets",
    reason: `there was no room for ${dropped} of ${received + dropped}`,
    hint: "let less through by a filter, or write them to a file and keep less of each, by --snap-length",
  });
}

function vteps(text: string): readonly IpAddress[] {
  const parts = text.split(",");
  if (parts.length > 2) throw new InvalidArgumentError("Allowed: one address, or two with a comma between.");
  return parts.map((part) => address(part.trim()));
}

function pointList(text: string): readonly PointKind[] {
  const parts = text.split(",").map((part) => part.trim());
  for (const part of parts)
    if (!points.includes(part as PointKind)) throw new InvalidArgumentError(`Allowed: ${points.join(", ")}.`);
  return [...new Set(parts)] as PointKind[];
}
