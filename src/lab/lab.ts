import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { agentClient, serverClient } from "../api/clients.ts";
import { messageOf, WeftError } from "../base/errors.ts";
import { writeFileDurably } from "../linux/durable-file.ts";
import {
  createNamedNamespace,
  deleteNamedNamespace,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
} from "../linux/index.ts";
import { preparePrivateDirectory } from "../linux/private-files.ts";
import { type LabNames, labNames } from "./names.ts";
import { removeOutside } from "./outside.ts";
import {
  isRunning,
  type LabProcess,
  pause,
  signalProcess,
  startProcess,
  stopProcesses,
  tailOf,
  weftProgram,
} from "./process.ts";
import { type Migrated, QemuControl, qemu, qemuParameters } from "./qemu.ts";
import {
  hostAddresses,
  makeHost,
  makeServerHost,
  makeSwitch,
  removeNamespaces,
  serverAddress,
  vtepPrefixes,
} from "./underlay.ts";

export interface LabOptions {
  /** Several labs stand beside each other by name. Default `lab`. */
  readonly name?: string;
  /** Default 3. */
  readonly hosts?: number;
  /** Octets of the largest packet on the underlay. Default 1500. */
  readonly underlayMtu?: number;
  /** Told what is being done, in a few words. */
  readonly progress?: (step: string) => void;
}

/** How the agent of a host is started otherwise than the others. */
export interface AgentStart {
  /** What it is told by `--underlay`. Default: the host's two addresses. */
  readonly underlay?: string;
  /** The server's URL. Default: that of the lab's. */
  readonly server?: string;
  /** A program with its words that starts the agent in its turn, as `env NAME=VALUE` does. */
  readonly launcher?: readonly string[];
}

/** What is on disk while the lab stands. */
interface LabRecord {
  readonly hosts: readonly string[];
  readonly processes: readonly LabProcess[];
  /** Absent: none was ever started. */
  readonly machines?: readonly LabMachine[];
}

/** A virtual machine of QEMU's on a host, with a tap of its name. */
export interface LabMachine {
  readonly name: string;
  readonly host: string;
  readonly network: string;
  /** Id of its endpoint. */
  readonly endpoint: string;
  readonly mac: string;
  /** With their prefix lengths. */
  readonly addresses: readonly string[];
  readonly mtu: number;
}

export interface AttachedContainer {
  readonly id: string;
  readonly mac: string;
  readonly ips: readonly string[];
  readonly mtu: number;
}

const serverPort = 7400;
/** How long a server or agent may take until it answers: on a machine in which many start at once, a minute and more. */
const startTimeout = 240_000;

/**
 * Several hosts on one machine: each a network namespace on one underlay, with a real agent, and a real server.
 * Containers are namespaces. Made of what everybody has: the commands, the API and the netlink library.
 */
export class Lab {
  readonly names: LabNames;
  #record: LabRecord;
  #isDown = false;

  private constructor(names: LabNames, record: LabRecord) {
    this.names = names;
    this.#record = record;
  }

  /** Brings a lab up; leaves nothing behind when it fails. */
  static async up(options: LabOptions = {}): Promise<Lab> {
    const names = labNames(options.name ?? "lab");
    const progress = options.progress ?? (() => {});
    requireRoot(`bring up lab ${names.lab}`);
    if (existsSync(join(names.directory, "lab.json")))
      throw new WeftError({
        code: "already-exists",
        attempted: `bring up lab ${names.lab}`,
        reason: "it stands already",
        hint: `remove it with: weft lab down${names.lab === "lab" ? "" : ` --name ${names.lab}`}`,
      });
    const taken = (await listNamedNamespaces()).filter(names.isOwn);
    // What `down` removes by name later must all be the lab's own.
    if (taken.length > 0)
      throw new WeftError({
        code: "already-exists",
        attempted: `bring up lab ${names.lab}`,
        reason: `network namespaces with its names are there already: ${taken.sort().join(", ")}`,
        hint: "give the lab another name, or delete them with: ip netns delete NAME",
      });
    const hosts = Array.from({ length: options.hosts ?? 3 }, (_, index) => `h${index + 1}`);
    preparePrivateDirectory(names.directory, "the lab's directory", "see who may write there");
    const lab = new Lab(names, { hosts, processes: [] });
    lab.#save();
    try {
      const mtu = options.underlayMtu ?? 1500;
      progress(`underlay: a switch, ${hosts.length} hosts and a server's host, MTU ${mtu}`);
      await makeSwitch(names);
      await makeServerHost(names, mtu);
      for (const [index, host] of hosts.entries()) await makeHost(names, names.host(host), index + 1, mtu);
      progress("server with its embedded store");
      await lab.startServer();
      progress(`an agent on each of ${hosts.join(", ")}`);
      await Promise.all(hosts.map((host) => lab.startAgent(host)));
      return lab;
    } catch (error) {
      await lab.down();
      throw error;
    }
  }

  static stands(name: string): boolean {
    return existsSync(join(labNames(name).directory, "lab.json"));
  }

  /** A lab that stands. */
  static open(name = "lab"): Lab {
    const names = labNames(name);
    const file = join(names.directory, "lab.json");
    if (!Lab.stands(name))
      throw new WeftError({
        code: "not-found",
        attempted: `use lab ${name}`,
        reason: "no such lab stands",
        hint: "bring it up with: weft lab up",
      });
    return new Lab(names, JSON.parse(readFileSync(file, "utf8")) as LabRecord);
  }

  get hosts(): readonly string[] {
    return this.#record.hosts;
  }

  get machines(): readonly LabMachine[] {
    return this.#record.machines ?? [];
  }

  /** The socket of a machine's console. */
  consoleSocket(machine: string): string {
    return this.#socketOf(machine, "console");
  }

  /** The server, then the agents in the order of their hosts, whichever was quicker to start; then machines. */
  get processes(): readonly (LabProcess & { readonly running: boolean })[] {
    return ["server", ...this.hosts, ...this.machines.map(({ name }) => name)].flatMap((name) =>
      this.#record.processes
        .filter((each) => each.name === name)
        .map((each) => ({ ...each, running: isRunning(each) })),
    );
  }

  get serverSocket(): string {
    return join(this.names.directory, "server", "server.sock");
  }

  agentSocket(host: string): string {
    return join(this.names.directory, host, "run", "agent.sock");
  }

  /** Of an engine in the host, if there is one: the machine's own is none of the lab's. */
  dockerSocket(host: string): string {
    return join(this.names.directory, host, "docker.sock");
  }

  get admin(): ReturnType<typeof serverClient> {
    return serverClient(this.serverSocket);
  }

  agent(host: string): ReturnType<typeof agentClient> {
    return agentClient(this.agentSocket(host));
  }

  /** Also after a stop or kill. */
  async startServer(): Promise<void> {
    this.#requireUp("start the server");
    const parameters = [
      "server",
      "--listen",
      `${serverAddress}:${serverPort}`,
      "--data-dir",
      join(this.names.directory, "server"),
      "--vtep-prefix",
      vtepPrefixes.join(","),
    ];
    const started = this.#start("server", this.names.server, parameters);
    await this.#answering("server", started, async () => {
      await this.admin.getStatus({});
      return true;
    });
  }

  /** Also after a stop or kill; the first time the node joins. */
  async startAgent(host: string, options: AgentStart = {}): Promise<void> {
    this.#requireUp(`start the agent of ${host}`);
    const directory = join(this.names.directory, host);
    const { ipv4, ipv6 } = hostAddresses(Number(host.slice(1)));
    const joined = existsSync(join(directory, "node.crt"));
    mkdirSync(join(directory, "run"), { recursive: true, mode: 0o700 });
    const tokenFile = join(directory, "token");
    if (!joined) writeFileDurably(tokenFile, (await this.admin.createToken({ lifetime: BigInt(startTimeout) })).token);
    const [program, ...words] = [...(options.launcher ?? []), weftProgram];
    const parameters = [
      ...words,
      "agent",
      "--server",
      options.server ?? `https://${serverAddress}:${serverPort}`,
      "--token-file",
      tokenFile,
      "--name",
      host,
      "--underlay",
      options.underlay ?? `${ipv4},${ipv6}`,
      "--data-dir",
      directory,
      "--run-dir",
      join(directory, "run"),
      "--instance",
      this.names.instance(host),
      "--docker-socket",
      this.dockerSocket(host),
    ];
    const started = this.#start(host, this.names.host(host), parameters, program);
    await this.#answering(host, started, async () => {
      const status = await this.agent(host).getStatus({});
      // Whoever comes back from its disk works before it has reached the server.
      return status.serverState === "connected" || (joined && status.inSync);
    });
  }

  /** Ends the process as a power cut or the kernel's memory killer would. */
  kill(name: string): void {
    signalProcess(this.#process(name), "SIGKILL");
  }

  async stop(name: string): Promise<void> {
    await stopProcesses([this.#process(name)]);
  }

  isRunning(name: string): boolean {
    return this.#record.processes.some((each) => each.name === name && isRunning(each));
  }

  /** Starts any program in a place of the lab, under a name of its own; it ends with the lab at the latest. */
  startProgram(name: string, place: string, program: string, words: readonly string[]): void {
    this.#requireUp(`start ${name}`);
    using namespace = this.namespace(place);
    this.#start(name, namespace.label, words, program);
  }

  /** Ends what {@link startProgram} started, and forgets it with what it said; that there is none is success. */
  async endProgram(name: string): Promise<void> {
    await stopProcesses(this.#record.processes.filter((each) => each.name === name));
    this.#record = { ...this.#record, processes: this.#record.processes.filter((each) => each.name !== name) };
    this.#save();
    rmSync(this.#logFile(name), { force: true });
  }

  /** A namespace that stands for a container. */
  addContainer(name: string): void {
    this.#requireUp(`add container ${name}`);
    createNamedNamespace(this.names.container(name));
  }

  removeContainer(name: string): void {
    deleteNamedNamespace(this.names.container(name));
  }

  async attach(
    container: string,
    host: string,
    network: string,
    wanted: { readonly ips?: readonly string[]; readonly mac?: string } = {},
  ): Promise<AttachedContainer> {
    const answer = await this.agent(host).attach({
      network,
      netns: namedNamespacePath(this.names.container(container)),
      interface: "eth0",
      mac: wanted.mac ?? "",
      ips: [...(wanted.ips ?? [])],
    });
    if (answer.endpoint === undefined) throw new TypeError("the agent's answer lacks the endpoint");
    return { id: answer.endpoint.id, mac: answer.endpoint.mac, ips: answer.endpoint.ips, mtu: answer.mtu };
  }

  async detach(container: string, host: string, network: string): Promise<void> {
    await this.agent(host).detach({
      network,
      netns: namedNamespacePath(this.names.container(container)),
      interface: "eth0",
    });
  }

  /** Starts a machine on a host, which boots meanwhile. What it boots from must be there: {@link imageScript}. */
  async addMachine(name: string, host: string, network: string): Promise<LabMachine> {
    this.#requireUp(`add machine ${name}`);
    const { endpoint, addresses, mtu } = await this.agent(host).attach({
      network,
      device: name,
      tap: { multiQueue: false },
      movable: true,
    });
    if (endpoint === undefined) throw new TypeError("the agent's answer lacks the endpoint");
    const machine = { name, host, network, endpoint: endpoint.id, mac: endpoint.mac, addresses, mtu };
    this.#startMachine(machine, name);
    this.#saveMachine(machine);
    return machine;
  }

  /** Moves a machine, running, to another host: QEMU does, and weft follows by what the machine announces. */
  async moveMachine(name: string, host: string): Promise<Migrated> {
    const attempted = `move machine ${name} to ${host}`;
    const machine = this.machines.find((each) => each.name === name);
    const address = this.hosts.includes(host) ? hostAddresses(this.hosts.indexOf(host) + 1).ipv4 : undefined;
    if (machine === undefined || address === undefined || machine.host === host)
      throw new WeftError({
        code: "not-found",
        attempted,
        reason:
          machine === undefined
            ? `the lab has no machine ${name}`
            : address === undefined
              ? `the lab has no host ${host}`
              : "it is there already",
        hint: "see weft lab status",
      });
    const place = { network: machine.network, device: name, tap: { multiQueue: false }, standby: machine.endpoint };
    await this.agent(host).attach(place);
    const moved = { ...machine, host };
    const arriving = this.#startMachine(moved, `${name}-arriving`, true);
    const at = `${address}:4444`;
    try {
      const waiting = await QemuControl.open(this.#socketOf(`${name}-arriving`, "control"));
      await waiting.await(at);
      waiting.close();
      const leaving = await QemuControl.open(this.#socketOf(name, "control"));
      const migrated = await leaving.migrate(at);
      leaving.close();
      await this.stop(name);
      this.#rename(`${name}-arriving`, name);
      this.#saveMachine(moved);
      return migrated;
    } catch (error) {
      await stopProcesses([arriving]);
      await this.agent(host).detach({ network: machine.network, device: name });
      throw error;
    }
  }

  #startMachine(machine: LabMachine, process: string, ...arriving: readonly true[]): LabProcess {
    const { name, host, mac, addresses, mtu } = machine;
    const words = qemuParameters({
      ...{ tap: name, mac, addresses, mtu, control: this.#socketOf(process, "control") },
      console: `unix:${this.#socketOf(process, "console")},server=on,wait=off`,
      ...(arriving.length === 0 ? {} : { isIncoming: true }),
    });
    return this.#start(process, this.names.host(host), words, qemu);
  }

  #socketOf(process: string, kind: "control" | "console"): string {
    return join(this.names.directory, `${process}.${kind}`);
  }

  /** Its sockets go along: whoever has them open keeps them. */
  #rename(from: string, to: string): void {
    for (const kind of ["control", "console"] as const)
      renameSync(this.#socketOf(from, kind), this.#socketOf(to, kind));
    const others = this.#record.processes.filter(({ name }) => name !== to);
    const processes = others.map((each) => (each.name === from ? { ...each, name: to } : each));
    this.#record = { ...this.#record, processes };
    this.#save();
  }

  #saveMachine(machine: LabMachine): void {
    const others = this.machines.filter(({ name }) => name !== machine.name);
    this.#record = { ...this.#record, machines: [...others, machine] };
    this.#save();
  }

  /** The namespace of a host, a container, `server` or `switch`. */
  namespace(place: string): NetworkNamespace {
    // `server` and `switch` are named as hosts are.
    for (const name of [this.names.host(place), this.names.container(place)])
      if (namedNamespaceExists(name)) return NetworkNamespace.openNamed(name);
    throw new WeftError({
      code: "not-found",
      attempted: `enter ${place} of lab ${this.names.lab}`,
      reason: "it has no such host or container",
      hint: "see weft lab status",
    });
  }

  /** Removes everything that the lab made; may be repeated. */
  async down(): Promise<void> {
    this.#isDown = true;
    await stopProcesses(this.#record.processes);
    await removeNamespaces(this.names);
    removeOutside(this.names);
    rmSync(this.names.directory, { recursive: true, force: true });
  }

  /** Whoever was busy with a lab while another removed it makes nothing any more. */
  #requireUp(attempted: string): void {
    if (!this.#isDown) return;
    throw new WeftError({ code: "failed-precondition", attempted, reason: `lab ${this.names.lab} has been removed` });
  }

  #start(name: string, namespaceName: string, parameters: readonly string[], program?: string): LabProcess {
    using namespace = NetworkNamespace.openNamed(namespaceName);
    const started = startProcess(name, namespace, parameters, this.#logFile(name), program);
    this.#record = {
      ...this.#record,
      processes: [...this.#record.processes.filter((each) => each.name !== name), started],
    };
    this.#save();
    return started;
  }

  #logFile(name: string): string {
    return join(this.names.directory, `${name}.log`);
  }

  #process(name: string): LabProcess {
    const found = this.#record.processes.find((each) => each.name === name);
    if (found !== undefined) return found;
    throw new WeftError({
      code: "not-found",
      attempted: `find ${name} of lab ${this.names.lab}`,
      reason: "it was never started",
    });
  }

  async #answering(name: string, started: LabProcess, isReady: () => Promise<boolean>): Promise<void> {
    const end = performance.now() + startTimeout;
    let last = "it does not answer";
    while (performance.now() < end && isRunning(started)) {
      const began = performance.now();
      try {
        if (await isReady()) return;
        last = "it is not ready";
      } catch (error) {
        last = messageOf(error);
      }
      // Looking takes a fifth of the time at most: what starts needs the rest.
      await pause(Math.max(10, 4 * (performance.now() - began)));
    }
    throw new WeftError({
      code: "unavailable",
      attempted: `start ${name} of lab ${this.names.lab}`,
      reason: `${isRunning(started) ? last : "it ended"}\n${tailOf(this.#logFile(name))}`,
    });
  }

  /** Whole or not at all: `weft lab down` must find what there is. */
  #save(): void {
    const file = join(this.names.directory, "lab.json");
    writeFileDurably(file, JSON.stringify(this.#record));
  }
}

function requireRoot(attempted: string): void {
  if (process.getuid?.() === 0) return;
  throw new WeftError({
    code: "permission-denied",
    attempted,
    reason: "network namespaces take root",
    hint: "run it as root",
  });
}
