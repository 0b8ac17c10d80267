import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { connect } from "node:net";
import { type Command, InvalidArgumentError, Option } from "commander";
import { WeftError } from "../../base/errors.ts";
import { examples, outputOption, type WithOutput } from "../options.ts";
import { show } from "../output.ts";
import { requireRoot } from "../privilege.ts";
import { renderTable } from "../table.ts";
import { print } from "../terminal.ts";
import { registerFaults } from "./lab-faults.ts";

interface WithName {
  readonly name: string;
}

export function registerLab(program: Command): void {
  const lab = program.command("lab").description("several hosts on this machine, to learn and to try");
  examples(lab, "weft lab up", "weft lab run blue1 -- ping 10.0.0.2", "weft lab down");

  const up = lab
    .command("up")
    .description("bring up hosts, server, agents, two tenants and their containers, and leave them standing")
    .option("--name <name>", "the lab's name, for several beside each other", "lab")
    .addOption(new Option("--hosts <count>", "how many hosts; 3 to 20").default(3).argParser(hostCount))
    .option("--vm", "with two small virtual machines, which QEMU runs; installs what is missing")
    .action(async ({ vm, ...options }: WithName & { readonly hosts: number; readonly vm?: true }) => {
      requireRoot("bring up a lab");
      if (vm === true) await makeImage();
      const { Lab } = await import("../../lab/lab.ts");
      const { machines, setScene } = await import("../../lab/scenario.ts");
      const progress = (step: string): void => void print(`  ${step}\n`);
      const standing = await interruptible(
        () => Lab.up({ ...options, progress }),
        (made) => made?.down(),
      );
      await interruptible(
        async () => {
          await setScene(standing, progress);
          for (const { name, host, network } of vm === true ? machines : []) {
            const { addresses } = await standing.addMachine(name, host, network);
            progress(`machine ${name} on ${host}: ${addresses.join(", ")}`);
          }
        },
        () => standing.down(),
      );
      const name = options.name === "lab" ? "" : ` --name ${options.name}`;
      print(
        `\nThe lab stands. Try:\n` +
          `  weft lab run${name} blue1 -- ping 10.0.0.2\n` +
          `  weft lab run${name} h1 -- weft status\n` +
          `  weft lab run${name} h1 -- weft fdb\n` +
          `  weft lab run${name} server -- weft endpoint list\n` +
          (vm === true ? `  weft lab console${name} vm1\n  weft lab move${name} vm1 h3\n` : "") +
          `  weft lab down${name}\n`,
      );
    });
  examples(up, "weft lab up", "weft lab up --hosts 5 --name big", "weft lab up --vm");

  const run = lab
    .command("run <place> <command...>")
    .description("run a command on a host (h1, server, switch) or in a container (blue1)")
    .option("--name <name>", "the lab's name", "lab")
    .passThroughOptions()
    .action(async (place: string, words: string[], options: WithName) => {
      process.exitCode = await runInside(await openLab(options.name), place, words);
    });
  examples(
    run,
    "weft lab run blue1 -- ping 10.0.0.2",
    "weft lab run h1 -- weft fdb",
    "weft lab run h2 -- tcpdump -ni eth0 udp port 4789",
  );

  const console = lab
    .command("console <machine>")
    .description("the console of a machine; ends with Ctrl-]")
    .option("--name <name>", "the lab's name", "lab")
    .action(async (machine: string, options: WithName) => {
      requireRoot("open a console");
      await joinConsole((await openLab(options.name)).consoleSocket(machine), machine);
    });
  examples(console, "weft lab console vm1");

  const move = lab
    .command("move <machine> <host>")
    .description("let QEMU move a machine, running, to another host, and weft follow it")
    .option("--name <name>", "the lab's name", "lab")
    .action(async (machine: string, host: string, options: WithName) => {
      requireRoot("move a machine");
      const { downtime, total } = await (await openLab(options.name)).moveMachine(machine, host);
      print(`machine ${machine} is on ${host}: moved in ${total} ms, and stood still for ${downtime} ms\n`);
    });
  examples(move, "weft lab move vm1 h3");

  const status = lab
    .command("status")
    .description("what the lab consists of, and whether it runs")
    .option("--name <name>", "the lab's name", "lab")
    .addOption(outputOption())
    .action(async (options: WithName & WithOutput) => {
      const standing = await openLab(options.name);
      const rows = standing.processes.map(({ name, pid, running }) => ({
        name,
        namespace: standing.names.host(standing.machines.find((machine) => machine.name === name)?.host ?? name),
        process: pid,
        state: running ? "running" : "ended",
        socket: socketOf(standing, name),
      }));
      await show(options.output, rows, (surface) =>
        renderTable(
          [
            { header: "name", value: (row) => row.name },
            { header: "state", value: (row) => row.state },
            { header: "process", value: (row) => row.process },
            { header: "namespace", value: (row) => row.namespace },
            { header: "socket", value: (row) => row.socket },
          ],
          rows,
          surface,
        ),
      );
    });
  examples(status, "weft lab status");

  const down = lab
    .command("down")
    .description("remove everything that the lab made")
    .option("--name <name>", "the lab's name", "lab")
    .action(async (options: WithName) => {
      requireRoot("remove a lab");
      await (await openLab(options.name)).down();
      print(`lab ${options.name} removed\n`);
    });
  examples(down, "weft lab down");

  registerFaults(lab);

  const demo = lab
    .command("demo")
    .description("show the main things on a lab of its own, with figures, and remove it")
    .action(async () => {
      requireRoot("show the demonstration");
      const { runDemo } = await import("../../lab/demo.ts");
      const { demoPrinter } = await import("../demo-printer.ts");
      const printer = demoPrinter(process.stdout);
      const stop = new AbortController();
      const onSignal = (): void =>
        stop.abort(new WeftError({ code: "unavailable", attempted: "show the demonstration", reason: "interrupted" }));
      process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
      const findings = await runDemo(printer, stop.signal);
      printer.summary(findings);
      if (findings.some((finding) => !finding.asPromised)) process.exitCode = 1;
    });
  examples(demo, "weft lab demo");
}

/** By which a process of the lab is spoken to. */
function socketOf(lab: Awaited<ReturnType<typeof openLab>>, name: string): string {
  if (name === "server") return lab.serverSocket;
  return lab.machines.some((machine) => machine.name === name) ? lab.consoleSocket(name) : lab.agentSocket(name);
}

/** What machines boot from; done once. */
async function makeImage(): Promise<void> {
  const { imageScript } = await import("../../lab/qemu.ts");
  const attempted = "make what virtual machines boot from";
  if (!existsSync(imageScript))
    throw new WeftError({
      code: "not-found",
      attempted,
      reason: `there is no ${imageScript}`,
      hint: "run it in a checkout of weft's sources",
    });
  const child = spawn(imageScript, { stdio: "inherit" });
  const status = await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? 1)));
  if (status !== 0)
    throw new WeftError({ code: "failed-precondition", attempted, reason: `${imageScript} ended with ${status}` });
}

/** Joins the terminal with a machine's console, until Ctrl-] or until the machine ends. */
async function joinConsole(path: string, machine: string): Promise<void> {
  const socket = connect(path);
  await once(socket, "connect").catch((error: unknown) => {
    throw new WeftError({
      code: "not-found",
      attempted: `open the console of ${machine}`,
      reason: `no machine speaks at ${path}`,
      hint: "see weft lab status; bring a lab with machines up with: weft lab up --vm",
      cause: error,
    });
  });
  const { stdin, stdout } = process;
  const isTerminal = stdin.isTTY === true;
  if (isTerminal) {
    print(`The console of ${machine}; Ctrl-] ends.\r\n`);
    stdin.setRawMode(true);
    socket.write("\r");
  }
  socket.pipe(stdout, { end: false });
  stdin.on("data", (typed: Buffer) => {
    if (isTerminal && typed.includes(0x1d)) socket.end();
    else socket.write(typed);
  });
  stdin.on("end", () => socket.end());
  await once(socket, "close");
  if (isTerminal) stdin.setRawMode(false);
  stdin.pause();
}

function hostCount(text: string): number {
  const count = Number(text);
  if (/^\d+$/.test(text) && count >= 3 && count <= 20) return count;
  throw new InvalidArgumentError("Allowed: 3 to 20.");
}

/** A command inside the lab, with the sockets of the place as defaults, so that `weft` there means that host. */
async function runInside(
  lab: Awaited<ReturnType<typeof openLab>>,
  place: string,
  words: readonly string[],
): Promise<number> {
  const { weftProgram } = await import("../../lab/process.ts");
  using namespace = lab.namespace(place);
  const [first = "", ...rest] = words[0] === "--" ? words.slice(1) : words;
  const environment = {
    ...process.env,
    WEFT_SERVER: lab.serverSocket,
    ...(lab.hosts.includes(place) ? { WEFT_AGENT: lab.agentSocket(place) } : {}),
  };
  const command = first === "weft" ? weftProgram : first;
  const child = namespace.run(() => spawn(command, rest, { stdio: "inherit", env: environment }));
  // Ctrl-C reaches the command itself; its end is awaited.
  process.on("SIGINT", () => {});
  return new Promise((resolve, reject) => {
    child.once("error", (error) =>
      reject(new WeftError({ code: "not-found", attempted: `run ${first} in ${place}`, reason: error.message })),
    );
    child.once("close", (code, signal) => resolve(signal === null ? (code ?? 1) : 1));
  });
}

async function openLab(name: string) {
  const { Lab } = await import("../../lab/lab.ts");
  return Lab.open(name);
}

/** Undoes what was done so far when the work fails or somebody presses Ctrl-C; the work may come to its end meanwhile. */
async function interruptible<Value>(
  work: () => Promise<Value>,
  undo: (done: Value | undefined) => Promise<void> | undefined,
): Promise<Value> {
  const { promise: interrupted, reject } = Promise.withResolvers<never>();
  const onSignal = (): void =>
    reject(new WeftError({ code: "unavailable", attempted: "bring up a lab", reason: "interrupted" }));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  const working = work();
  try {
    return await Promise.race([working, interrupted]);
  } catch (error) {
    await undo(await working.catch(() => undefined));
    throw error;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
  }
}
