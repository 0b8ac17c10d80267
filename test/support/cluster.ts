/**
 * Whole clusters for tests: servers, agents and containers on this machine's kernel, spoken with as an operator does.
 * All of it goes away with the test, also when it fails and when the run is interrupted.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, rmSync } from "node:fs";
import { after } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { NetworkSchema } from "../../src/api/generated/weft/v1/resources_pb.js";
import { Lab, type LabOptions } from "../../src/lab/lab.ts";
import { labNames } from "../../src/lab/names.ts";
import { removeOutside } from "../../src/lab/outside.ts";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import { deleteNamedNamespace, NetworkNamespace, namedNamespaceExists, processesIn } from "../../src/linux/index.ts";
import type { Placement } from "../../src/model/index.ts";
import { makeTemporaryDirectory } from "../../src/testing/temporary-directory.ts";
import { atTheEnd } from "./end-of-process.ts";
import { inPlaceOn } from "./in-place.ts";
import { patience, untilNextLook } from "./patience.ts";

/** What has an end that cleaning up can wait for: a test, or {@link theWholeFile}. */
export interface Owner {
  after(action: () => void | Promise<void>): void;
}

/** The end of all tests of a file, also for what is begun inside one of them. To be called outside of tests. */
export function theWholeFile(): Owner {
  const actions: (() => void | Promise<void>)[] = [];
  after(async () => {
    for (const action of actions.reverse()) await action();
  });
  return {
    after: (action) => {
      actions.push(action);
    },
  };
}

/** Runs `action`, which must be synchronous, when `owner` ends or the process does, whichever comes first. */
export function cleanUp(owner: Owner, action: () => void): void {
  let isDone = false;
  const once = (): void => {
    if (isDone) return;
    isDone = true;
    action();
  };
  atTheEnd(once);
  owner.after(once);
}

/** Removes every namespace whose name `isOwn`, and the processes in them. */
export function removeNamespaces(isOwn: (name: string) => boolean): void {
  for (const name of namespaceNames().filter(isOwn)) {
    if (namedNamespaceExists(name)) {
      using namespace = NetworkNamespace.openNamed(name);
      for (const pid of processesIn(namespace)) killProcess(pid);
    }
    deleteNamedNamespace(name);
  }
}

export function namespaceNames(): string[] {
  return readdirSync("/run/netns").sort();
}

let made = 0;

/** Letters and digits that no other process of the moment uses; up to nine of them. */
export function uniqueName(): string {
  return `t${process.pid}${String.fromCharCode("a".charCodeAt(0) + made++)}`;
}

/** A lab of its own name. */
export async function testLab(owner: Owner, options: Omit<LabOptions, "name"> = {}): Promise<Lab> {
  const name = uniqueName();
  cleanUp(owner, () => removeLab(name));
  return Lab.up({ ...options, name });
}

/** Removes whatever there is of a lab, in whatever state it is. */
export function removeLab(name: string): void {
  const names = labNames(name);
  removeNamespaces(names.isOwn);
  removeOutside(names);
  rmSync(names.directory, { recursive: true, force: true });
}

/** An empty directory. */
export function testDirectory(owner: Owner): string {
  const path = makeTemporaryDirectory();
  cleanUp(owner, () => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Fields of a network; what is left out has its default. Without a tenant it is one of `acme`. */
export type NetworkWish = Omit<MessageInitShape<typeof NetworkSchema>, "$typeName" | "$unknown" | "subnets"> & {
  readonly name: string;
  readonly subnets: readonly string[];
};

/** Tenants and networks as a manifest would make them. */
export async function createNetworks(
  lab: Lab,
  networks: readonly NetworkWish[],
  placement: Placement = "own",
): Promise<void> {
  const tenants = new Set(networks.map(({ tenant = "acme" }) => tenant));
  await lab.admin.apply({
    resources: [
      ...[...tenants].map((name) => ({ resource: { case: "tenant" as const, value: { name, placement } } })),
      ...networks.map(({ tenant = "acme", subnets, ...rest }) => ({
        resource: { case: "network" as const, value: { tenant, subnets: [...subnets], ...rest } },
      })),
    ],
  });
}

export interface Finished {
  readonly status: number;
  readonly output: string;
  readonly complaints: string;
}

/** Runs `weft …` to its end, in a namespace or in that of the tests. */
export function weft(words: readonly string[], namespace?: NetworkNamespace): Promise<Finished> {
  return runProgram(namespace, weftProgram, words);
}

/** Runs `weft …`, which must succeed; what it printed. */
export async function weftDone(...words: readonly string[]): Promise<string> {
  const { status, output, complaints } = await weft(words);
  assert.equal(status, 0, `weft ${words.join(" ")}: ${complaints}`);
  return output;
}

/** What a command of weft shows with `-o json`. */
// biome-ignore lint/suspicious/noExplicitAny: the shape is that of whichever command it is, and the assertion checks it.
export async function weftJson(words: readonly string[], namespace?: NetworkNamespace): Promise<any> {
  const { status, output, complaints } = await weft([...words, "-o", "json"], namespace);
  assert.equal(status, 0, `weft ${words.join(" ")}: ${complaints}`);
  return JSON.parse(output);
}

/** Runs a program in a host, a container or the switch of a lab, which must succeed, and returns what it printed. */
export async function inLab(lab: Lab, place: string, command: string, ...words: readonly string[]): Promise<string> {
  using namespace = lab.namespace(place);
  const { status, output, complaints } = await runProgram(namespace, command, words);
  assert.equal(status, 0, `${place}: ${command} ${words.join(" ")}: ${complaints}${output}`);
  return output;
}

/** Whether an echo request comes back: they are sent for seconds, until one does. */
export async function pings(namespace: NetworkNamespace, address: string): Promise<boolean> {
  const { status } = await runProgram(namespace, "ping", ["-c", "1", "-i", "0.1", "-w", "5", address]);
  return status === 0;
}

/** Whether no echo request of a few comes back. Of worth where others, sent in the same way, do. */
export async function pingsInVain(namespace: NetworkNamespace, address: string): Promise<boolean> {
  const { status } = await runProgram(namespace, "ping", ["-c", "2", "-i", "0.05", "-W", "1", address]);
  return status !== 0;
}

/** Tries again until `check` passes; when {@link patience} is at its end it fails as `check` did last. */
export async function until(check: () => void | Promise<void>): Promise<void> {
  const end = performance.now() + patience;
  for (;;) {
    const began = performance.now();
    try {
      await check();
      return;
    } catch (error) {
      if (performance.now() > end) throw error;
    }
    await sleep(untilNextLook(began));
  }
}

/** The agent has nothing left to do for what the server has said. */
export async function inSync(lab: Lab, ...hosts: readonly string[]): Promise<void> {
  const { revision } = await lab.admin.getStatus({});
  for (const host of hosts)
    await until(async () => {
      const status = await lab.agent(host).getStatus({});
      assert.ok(status.revision >= revision, `${host} is at revision ${status.revision} of ${revision}`);
      assert.deepEqual(status.problems, [], host);
      assert.ok(status.inSync, `${host} is in sync`);
    });
}

/**
 * The agents have been told all that concerns them, and have nothing left to do for it. Where {@link inSync} would wait for
 * ever: a node is not told what does not concern it, such as the endpoints of other nodes in a layer-3 network.
 */
export async function idle(lab: Lab, ...hosts: readonly string[]): Promise<void> {
  await inPlaceOn(lab, ...hosts);
  for (const host of hosts)
    await until(async () => {
      const status = await lab.agent(host).getStatus({});
      assert.deepEqual(status.problems, [], host);
      assert.equal(status.serverState, "connected", `${host}: ${status.serverError}`);
      assert.ok(status.inSync, `${host} is in sync`);
    });
}

/** A program in a namespace that runs until it is told to stop; gone with `owner` in any case. */
export class BackgroundProgram {
  readonly #child: ReturnType<NetworkNamespace["spawn"]>;
  output = "";
  complaints = "";

  constructor(owner: Owner, namespace: NetworkNamespace, command: string, words: readonly string[]) {
    this.#child = namespace.spawn(command, words, { stdio: ["pipe", "pipe", "pipe"] });
    this.#child.stdout?.on("data", (chunk: Buffer) => {
      this.output += chunk;
    });
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.complaints += chunk;
    });
    cleanUp(owner, () => {
      if (this.running) this.#child.kill("SIGKILL");
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Waits until it has printed what matches, on either stream. */
  async said(pattern: RegExp): Promise<void> {
    await until(() => assert.match(this.output + this.complaints, pattern));
  }

  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  endInput(): void {
    this.#child.stdin?.end();
  }

  /** Sends the signal and waits for the end; the exit status, or 128 when a signal ended it. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number> {
    if (this.running) {
      const closed = once(this.#child, "close");
      this.#child.kill(signal);
      await closed;
    }
    return this.#child.exitCode ?? 128;
  }

  /** Waits for it to end by itself. */
  async ended(): Promise<number> {
    if (this.running) await once(this.#child, "close");
    return this.#child.exitCode ?? 128;
  }
}

function killProcess(pid: number): void {
  try {
    if (pid !== process.pid) process.kill(pid, "SIGKILL");
  } catch {
    // It ended meanwhile.
  }
}
