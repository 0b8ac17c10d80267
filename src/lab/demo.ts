import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { ip } from "../base/ip.ts";
import { parseMac } from "../base/mac.ts";
import { unwrap } from "../base/result.ts";
import { announcement } from "../dataplane/announcements.ts";
import { NetworkNamespace, namedNamespacePath, PacketSender } from "../linux/index.ts";
import { defaultEncapsulation } from "../model/encapsulation.ts";
import { overheadOf } from "../model/mtu.ts";
import { deleteNeighbour, getLink, listLinks, listNeighbours, NetlinkSocket } from "../netlink/index.ts";
import { readPcap } from "../wire/index.ts";
import { startCapture } from "./capture.ts";
import { Lab } from "./lab.ts";
import { captureUnderlay, type PingResult, ping, tcpStream } from "./measure.ts";
import { pause } from "./process.ts";
import { scenario, setScene } from "./scenario.ts";

/** One thing that was shown, with what was measured. */
export interface Finding {
  readonly what: string;
  readonly figures: string;
  /** Whether it was as weft promises. */
  readonly asPromised: boolean;
}

export interface DemoOutput {
  /** A new part of the demonstration begins. */
  title(text: string): void;
  /** Something was done. */
  step(text: string): void;
  finding(finding: Finding): void;
}

/**
 * Shows what weft is for on a lab of its own, measured on the real kernel, and removes the lab. `signal` ends it early.
 */
export async function runDemo(output: DemoOutput, signal: AbortSignal): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const record = (what: string, figures: string, asPromised: boolean): void => {
    const finding = { what, figures, asPromised };
    findings.push(finding);
    output.finding(finding);
  };
  output.title("Three hosts, one server, two tenants");
  const lab = await Lab.up({ name: `demo${process.pid}`, progress: output.step });
  const { promise: interrupted, reject } = Promise.withResolvers<never>();
  const interrupt = (): void => reject(signal.reason);
  interrupted.catch(() => {});
  if (signal.aborted) interrupt();
  signal.addEventListener("abort", interrupt, { once: true });
  const shown = showAll(lab, output, record);
  try {
    await Promise.race([interrupted, shown]);
  } finally {
    output.title("Removing everything");
    await lab.down();
    // What was under way fails now, and tidies up after itself.
    await Promise.race([shown.catch(() => {}), pause(tidyingLimit)]);
  }
  return findings;
}

/** Milliseconds. */
const tidyingLimit = 5_000;

type Recorder = (what: string, figures: string, asPromised: boolean) => void;

async function showAll(lab: Lab, output: DemoOutput, record: Recorder): Promise<void> {
  await setScene(lab, output.step);
  output.title("Containers on different hosts talk");
  await showConnectivity(lab, record);
  output.title("The other tenant has the same addresses and hears nothing");
  await showIsolation(lab, record);
  output.title("A container says that it has another's address");
  await showForgery(lab, record);
  output.title("Both tenants send all that they may");
  await showBandwidth(lab, output, record);
  output.title("What crosses the underlay");
  await showWire(lab, record);
  output.title("The agents of both hosts die (kill -9) and start again under traffic");
  await showAgentRestart(lab, output, record);
  output.title("The server is gone");
  await showServerLoss(lab, output, record);
  output.title("A container moves from h2 to h3 and keeps address and connections");
  await showMove(lab, output, record);
  output.title("Its endpoint moves to a container on h2 that is ready for it, while others talk to it");
  await showMigration(lab, output, record);
}

async function showConnectivity(lab: Lab, record: Recorder): Promise<void> {
  for (const address of ["10.0.0.2", "fd00:77::2"]) {
    const result = await ping(lab, "blue1", address, { count: 200, interval: 2 });
    record(
      `ping blue1 (h1) to blue2 (h2), ${address}`,
      `${countsOf(result)}, ${result.averageRtt} ms`,
      lost(result) === 0,
    );
  }
  const inner = await tcpStream(lab, "blue1", "blue2", "10.0.0.2", { duration: 2 });
  const outer = await tcpStream(lab, "h1", "h2", "192.0.2.2", { duration: 2 });
  record(
    "TCP blue1 to blue2",
    `${gigabits(inner.rate)} (${(inner.rate / outer.rate).toFixed(2)} of the underlay's ${gigabits(outer.rate)})`,
    inner.bytes > 0,
  );
}

async function showIsolation(lab: Lab, record: Recorder): Promise<void> {
  const before = receivedPackets(lab, "red2");
  const own = await ping(lab, "blue1", "10.0.0.2", { count: 20, interval: 5 });
  record("blue1 reaches 10.0.0.2 of its own tenant", countsOf(own), lost(own) === 0);
  const heard = receivedPackets(lab, "red2") - before;
  record("meanwhile the red 10.0.0.2 received", `${heard} packets`, heard === 0);
  await lab.detach("red2", "h3", "red-net");
  const across = await ping(lab, "red1", "10.0.0.2", { count: 5, interval: 20 });
  record("red1 to 10.0.0.2 while only blue has it", countsOf(across), across.received === 0);
  await lab.attach("red2", "h3", "red-net", { ips: ["10.0.0.2", "fd00:77::2"] });
}

/** Announces blue2's address with the MAC of blue1, as whoever wants blue2's traffic would. */
async function showForgery(lab: Lab, record: Recorder): Promise<void> {
  const forger = async () => {
    const { endpoints } = await lab.agent("h1").getStatus({});
    return endpoints.find(({ endpoint }) => endpoint?.network === "blue-net");
  };
  const before = await forger();
  const own = parseMac(before?.endpoint?.mac ?? "");
  if (!own.ok) throw new TypeError("blue1 is not on h1");
  const frame = announcement(ip("10.0.0.2"), own.value);
  const count = 20;
  using namespace = lab.namespace("blue1");
  using socket = new NetlinkSocket({ namespace });
  using sender = new PacketSender(namespace);
  const { index } = await socket.get(getLink({ name: "eth0" }));
  for (let sent = 0; sent < count; sent++) sender.send(index, frame);
  // What is sent behind them is judged behind them.
  await ping(lab, "blue1", "10.0.0.2", { count: 5, interval: 5 });
  const dropped = Number((await forger())?.dropped.arp ?? 0) - Number(before?.dropped.arp ?? 0);
  record(
    "blue1 announces blue2's address as its own",
    `${count} sent, ${dropped} dropped at its port`,
    dropped === count,
  );
}

/** Of payload, in packets of 1,450 octets of which the limit counts the frames. */
const payloadPart = 1398 / 1464;

/** Each tenant has a limit of its own, and both are at it together, with the same addresses. */
async function showBandwidth(lab: Lab, output: DemoOutput, record: Recorder): Promise<void> {
  const limits = { "blue-net": 100, "red-net": 50 } as const;
  await limitNetworks(lab, limits);
  output.step("blue may send 100 Mbit/s from each host, red 50 Mbit/s");
  const alone = await ping(lab, "red1", "10.0.0.2", { count: 100, interval: 5 });
  const directory = mkdtempSync(join(tmpdir(), "weft-demo-"));
  try {
    const strangers = await Promise.all(
      [
        ["blue2", "h1", "red-net"],
        ["red2", "h1", "blue-net"],
      ].map(async ([container = "", host = "", network = ""]) => {
        using namespace = lab.namespace(container);
        const { endpoints } = await lab.agent(host).getStatus({});
        const { mac = "" } = endpoints.find(({ endpoint }) => endpoint?.network === network)?.endpoint ?? {};
        const file = join(directory, container);
        return { file, capture: await startCapture(namespace, "eth0", file, { filter: `ether src ${mac}` }) };
      }),
    );
    const [blue, red] = await Promise.all([
      tcpStream(lab, "blue1", "blue2", "10.0.0.2", { duration: 3 }),
      tcpStream(lab, "red1", "red2", "10.0.0.2", { duration: 3 }),
    ]);
    for (const { capture } of strangers) await capture.stop();
    for (const [tenant, { rate }, limit] of [
      ["blue", blue, limits["blue-net"]],
      ["red", red, limits["red-net"]],
    ] as const) {
      const room = limit * 1e6 * payloadPart;
      record(
        `TCP of ${tenant} at its limit of ${limit} Mbit/s`,
        `${(rate / 1e6).toFixed(1)} Mbit/s of payload, ${(rate / room).toFixed(2)} of what there is room for`,
        Math.abs(rate / room - 1) <= 0.05,
      );
    }
    const heard = strangers.reduce((sum, { file }) => sum + unwrap(readPcap(readFileSync(file))).packets.length, 0);
    record("frames of one tenant at a container of the other", `${heard}`, heard === 0);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const flood = tcpStream(lab, "blue1", "blue2", "10.0.0.2", { duration: 2 });
  await pause(500);
  const beside = await ping(lab, "red1", "10.0.0.2", { count: 100, interval: 5 });
  await flood;
  const [before = 0, now = 0] = [alone.averageRtt, beside.averageRtt];
  record(
    "round trip of red beside blue at its limit",
    `${now} ms, ${before} ms alone`,
    now > 0 && now <= 2 * before && lost(beside) === 0,
  );
  await limitNetworks(lab, {});
}

/** Mbit/s that endpoints of a network on one host send together; of those that are not named there is no limit. */
async function limitNetworks(lab: Lab, limits: Readonly<Record<string, number>>): Promise<void> {
  const { revision } = await lab.admin.apply({
    resources: scenario.networks.map((network) => {
      const limit = limits[network.name];
      const bandwidth = limit === undefined ? {} : { bandwidth: { send: { limit: `${limit}Mbit` } } };
      const value = { ...network, subnets: [...scenario.subnets], ...bandwidth };
      return { resource: { case: "network" as const, value } };
    }),
  });
  const networks = scenario.networks.map(({ name }) => name);
  for await (const _ of lab.admin.waitInPlace({ networks, revision }));
}

async function showWire(lab: Lab, record: Recorder): Promise<void> {
  const { mtu } = await underlayOf(lab);
  const largest = mtu - overheadOf({ encapsulation: defaultEncapsulation, underlay: "ipv4" }).octets;
  let full: PingResult | undefined;
  const wire = await captureUnderlay(lab, async () => {
    for (const { name } of scenario.containers) await forgetNeighbours(lab, name);
    for (const address of ["10.0.0.2", "fd00:77::2", "10.0.0.99", "fd00:77::99"])
      await ping(lab, "blue1", address, { count: 3, interval: 20 });
    await ping(lab, "red2", "10.0.0.1", { count: 3, interval: 20 });
    full = await ping(lab, "blue1", "10.0.0.2", { count: 20, interval: 2, size: largest - 28 });
  });
  record(
    "ARP and neighbour discovery frames on the underlay",
    `${wire.addressResolution} of ${wire.tunnelled} tunnelled frames (caches emptied, unknown addresses asked for)`,
    wire.addressResolution === 0 && wire.tunnelled > 0,
  );
  record(
    `full-size packets of ${largest} octets, not to be fragmented`,
    full === undefined
      ? "not sent"
      : `${countsOf(full)}; largest underlay packet ${wire.largestPacket}, fragments ${wire.fragments}`,
    full !== undefined && lost(full) === 0 && wire.fragments === 0 && wire.largestPacket === mtu,
  );
}

async function showAgentRestart(lab: Lab, output: DemoOutput, record: Recorder): Promise<void> {
  const before = await deviceIndexes(lab);
  const traffic = ping(lab, "blue1", "10.0.0.2", { count: 3000, interval: 1 });
  for (const host of ["h1", "h2"]) {
    lab.kill(host);
    await lab.startAgent(host);
    output.step(`agent of ${host} killed and started again`);
  }
  const result = await traffic;
  record("packets while two agents were killed and restarted", countsOf(result), lost(result) === 0);
  const writes = await Promise.all(
    ["h1", "h2"].map(async (host) => Number((await lab.agent(host).getStatus({})).netlinkWrites)),
  );
  record(
    "kernel writes of the restarted agents",
    `${writes.join(" and ")}`,
    writes.every((count) => count === 0),
  );
  record("interfaces", "the same indexes as before", (await deviceIndexes(lab)) === before);
}

async function showServerLoss(lab: Lab, output: DemoOutput, record: Recorder): Promise<void> {
  await lab.stop("server");
  output.step("server stopped");
  const result = await ping(lab, "blue1", "10.0.0.2", { count: 1000, interval: 1 });
  record("packets while there is no server", countsOf(result), lost(result) === 0);
  await lab.startServer();
  output.step("server started again");
  await connected(lab);
}

async function showMove(lab: Lab, output: DemoOutput, record: Recorder): Promise<void> {
  const { endpoints } = await lab.agent("h2").getStatus({});
  const endpoint = endpoints[0]?.endpoint;
  if (endpoint === undefined) throw new TypeError("blue2 is not on h2");
  const stream = tcpStream(lab, "blue1", "blue2", "10.0.0.2", { duration: 4, rate: "50M" });
  const probe = ping(lab, "blue1", "10.0.0.2", { count: 2000, interval: 2 });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const began = performance.now();
  await lab.detach("blue2", "h2", "blue-net");
  await lab.attach("blue2", "h3", "blue-net", { ips: endpoint.ips, mac: endpoint.mac });
  const took = performance.now() - began;
  output.step(`blue2 detached from h2 and attached on h3 in ${took.toFixed(0)} ms`);
  const probed = await probe;
  const result = await stream.catch((error: unknown) => messageOf(error));
  record("silence while blue2 moved", `${probed.longestGap.toFixed(0)} ms`, probed.longestGap < 1_000);
  record(
    "a TCP connection opened before the move",
    typeof result === "string"
      ? `broke: ${result}`
      : `carried ${(result.bytes / 1e6).toFixed(1)} MB to its end, ${result.retransmits} retransmissions`,
    typeof result !== "string",
  );
}

async function showMigration(lab: Lab, output: DemoOutput, record: Recorder): Promise<void> {
  const { endpoints } = await lab.agent("h3").getStatus({});
  const endpoint = endpoints.find(({ endpoint }) => endpoint?.network === "blue-net")?.endpoint;
  if (endpoint === undefined) throw new TypeError("blue2 is not on h3");
  lab.addContainer("blue3");
  const traffic = ping(lab, "blue1", "10.0.0.2", { count: 2000, interval: 1 });
  await new Promise((resolve) => setTimeout(resolve, 500));
  const began = performance.now();
  const place = { netns: namedNamespacePath(lab.names.container("blue3")), interface: "eth0", device: "" };
  await lab.admin.migrateEndpoint({ endpoint: endpoint.id, network: "blue-net", node: "h2", place });
  output.step(`weft migrate: h2 was made ready and has it, ${(performance.now() - began).toFixed(0)} ms`);
  const result = await traffic;
  // One packet each millisecond.
  record(
    "packets while it moved, one each millisecond",
    `${countsOf(result)}, longest silence ${result.longestGap.toFixed(0)} ms`,
    lost(result) <= 5,
  );
}

async function connected(lab: Lab): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const states = await Promise.all(lab.hosts.map(async (host) => (await lab.agent(host).getStatus({})).serverState));
    if (states.every((state) => state === "connected")) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function underlayOf(lab: Lab): Promise<{ readonly mtu: number }> {
  return { mtu: (await lab.agent("h1").getStatus({})).underlayMtu };
}

/** Names and indexes of all devices of the blue tenant on h1 and h2, as text. */
async function deviceIndexes(lab: Lab): Promise<string> {
  let text = "";
  for (const host of ["h1", "h2"]) {
    using namespace = NetworkNamespace.openNamed(`${lab.names.instance(host)}-blue`);
    using socket = new NetlinkSocket({ namespace });
    text += (await socket.dump(listLinks())).map((link) => `${host} ${link.index} ${link.name}\n`).join("");
  }
  return text;
}

function receivedPackets(lab: Lab, container: string): number {
  using namespace = lab.namespace(container);
  const line = namespace
    .run(() => readFileSync("/proc/thread-self/net/dev", "utf8"))
    .split("\n")
    .find((candidate) => candidate.trim().startsWith("eth0:"));
  return Number(line?.trim().split(/\s+/)[2]);
}

async function forgetNeighbours(lab: Lab, container: string): Promise<void> {
  using namespace = lab.namespace(container);
  using socket = new NetlinkSocket({ namespace });
  const entries = await socket.dump(listNeighbours());
  await socket.batch(entries.map((entry) => deleteNeighbour(entry.index, entry.ip)));
}

const lost = (result: PingResult): number => result.sent - result.received;
const countsOf = (result: PingResult): string => `${result.sent} sent, ${result.received} received`;
const gigabits = (rate: number): string => `${(rate / 1e9).toFixed(2)} Gbit/s`;
