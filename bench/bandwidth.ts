/**
 * How near rates come to the limits that were asked for: one endpoint, limited in one direction, and another on another host, at each
 * limit TCP and UDP, by one connection and by eight. Measured is what the kernel let pass, and beside it what of that was payload that the
 * receiver had not got yet, as a part of what the limit has room for.
 *
 *     scripts/node.sh bench/bandwidth.ts [--seconds 5] [--limits 1Mbit,100Mbit]
 */
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";
import { parseArgs } from "node:util";
import { bitsOf, type Direction, directions, type Rate } from "../src/model/bandwidth.ts";
import { players, Stage } from "../test/attacks/stage.ts";
import { eventually, settled } from "../test/support/underlay.ts";
import { table } from "./netlink-scene.ts";

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "5" },
    limits: { type: "string", default: "1Mbit,10Mbit,100Mbit,1Gbit" },
  },
});
const seconds = Number(options.seconds);
const limits = options.limits.split(",") as Rate[];

/**
 * Octets of payload in a packet, and of the frame that carries it, with an MTU of 1450. TCP: with timestamps. UDP at rates that take more calls
 * than a process can make: datagrams that the kernel sends in fragments.
 */
const sizes = {
  tcp: { payload: 1398, frame: 1464 },
  udp: { payload: 1300, frame: 1342 },
  fragments: { payload: 42 * 1424 - 8, frame: 42 * 1458 },
} as const;
type Protocol = "tcp" | "udp";

const stage = await Stage.make("rate", {});

async function limit(direction: Direction, rate: Rate): Promise<void> {
  const [dataplane] = stage.dataplanes;
  if (dataplane === undefined) throw new TypeError("there is no first node");
  const { endpointBandwidth: _, ...settings } = stage.network(1).settings;
  dataplane.putNetwork({ ...settings, endpointBandwidth: { [direction]: { limit: rate } } });
  await dataplane.changed();
  await settled(dataplane);
  before = { octets: 0, time: 0 };
}

interface Measured {
  /** Bits per second of frames that passed. */
  readonly rate: number;
  /** Of what the limit has room for. */
  readonly payload: number;
}

async function measure(direction: Direction, protocol: Protocol, streams: number, rate: Rate): Promise<Measured> {
  const [from, to] = direction === "send" ? (["attacker", "far"] as const) : (["far", "attacker"] as const);
  const { payload, frame } = sizes[protocol === "udp" && bitsOf(rate) >= 1e9 ? "fragments" : protocol];
  const receiver = stage.container(to);
  const server = receiver.namespace.spawn("iperf3", ["--server", "--one-off", "--json"]);
  await eventually("iperf3 listens", () => receiver.shell("ss -Hltn sport = :5201") !== "");
  const offered = Math.round((bitsOf(rate) * 1.3) / streams);
  const words = protocol === "udp" ? ["--udp", "--bitrate", `${offered}`, "--length", `${payload}`] : [];
  const parameters = ["--time", `${seconds + 1}`, "--parallel", `${streams}`, ...words];
  stage.container(from).namespace.spawn("iperf3", ["--client", players[to].ipv4, ...parameters], { stdio: "ignore" });
  const report = text(server.stdout as NonNullable<typeof server.stdout>);
  await eventually("it flows", async () => (await passed(direction)).octets > before.octets + (bitsOf(rate) / 8) * 0.5);
  const first = await passed(direction);
  await setTimeout(seconds * 1000 - 500);
  const last = await passed(direction);
  before = last;
  const { error, intervals } = JSON.parse(await report) as Report;
  if (error !== undefined) throw new Error(`iperf3: ${error}`);
  let bytes = 0;
  let time = 0;
  for (const { sum } of intervals.slice(1, seconds)) {
    bytes += sum.bytes;
    time += sum.seconds;
  }
  return {
    rate: ((last.octets - first.octets) * 8) / ((last.time - first.time) / 1000),
    payload: (((bytes * 8) / time) * (frame / payload)) / bitsOf(rate),
  };
}

let before = { octets: 0, time: 0 };

async function passed(direction: Direction): Promise<{ readonly octets: number; readonly time: number }> {
  const uses = (await stage.dataplanes[0]?.bandwidthUse()) ?? [];
  const use = uses.find((each) => each.endpoint === players.attacker.id && each.direction === direction);
  return { octets: use?.octets ?? 0, time: performance.now() };
}

interface Report {
  readonly error?: string;
  readonly intervals: readonly {
    readonly sum: { readonly bytes: number; readonly seconds: number };
  }[];
}

const megabits = (bits: number): string => (bits / 1e6).toFixed(2);

try {
  const rows = [["limit", "direction", "protocol", "streams", "asked Mbit/s", "passed", "ratio", "payload"]];
  for (const rate of limits)
    for (const direction of directions) {
      await limit(direction, rate);
      for (const protocol of ["tcp", "udp"] as const)
        for (const streams of [1, 8]) {
          const found = await measure(direction, protocol, streams, rate);
          const asked = bitsOf(rate);
          rows.push([
            rate,
            direction,
            protocol.toUpperCase(),
            String(streams),
            megabits(asked),
            megabits(found.rate),
            (found.rate / asked).toFixed(3),
            found.payload.toFixed(2),
          ]);
        }
    }
  console.log(table(rows));
} finally {
  await stage.close();
}
