/** What a container runtime does: runs CNI plugins as the specification says, on the hosts of a lab. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { Lab } from "../../src/lab/lab.ts";
import { namedNamespacePath } from "../../src/linux/index.ts";
import { pluginProgram } from "../../src/plugins/cni/program.ts";

/** Where Debian's containernetworking-plugins are. */
const referencePlugins = "/usr/lib/cni";

export interface Outcome {
  /** -1: it was killed. */
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: a result or an error, which the test looks at.
  readonly answer: any;
  readonly output: string;
}

export interface CallOptions {
  readonly container?: string;
  readonly interface?: string;
  /** Default: the namespace of the container of that name. */
  readonly netns?: string;
  readonly args?: string;
  readonly variables?: Readonly<Record<string, string | undefined>>;
  /** The plugin that is run; default: that of the configuration's `type`. */
  readonly plugin?: string;
  /** Milliseconds after which it is killed. */
  readonly killAfter?: number;
}

// biome-ignore lint/suspicious/noExplicitAny: a configuration is whatever JSON a test wants to try.
export type Configuration = any;

/** The runtime of one host. */
export class Runtime {
  readonly #lab: Lab;
  readonly #host: string;
  readonly #folder: string;

  constructor(lab: Lab, host: string) {
    assert.ok(existsSync(join(referencePlugins, "host-local")), "install containernetworking-plugins: npm run setup");
    this.#lab = lab;
    this.#host = host;
    this.#folder = join(lab.names.directory, `cni-${host}`);
    mkdirSync(this.#folder, { recursive: true });
    if (!existsSync(join(this.#folder, "weft"))) symlinkSync(pluginProgram(process.arch), join(this.#folder, "weft"));
  }

  /** A configuration of weft's, as a runtime derives it from a list. */
  configuration(fields: Configuration = {}): Configuration {
    return {
      cniVersion: "1.1.0",
      name: "lab",
      type: "weft",
      network: "web",
      agentSocket: this.#lab.agentSocket(this.#host),
      ...fields,
    };
  }

  netns(container: string): string {
    return namedNamespacePath(this.#lab.names.container(container));
  }

  async call(command: string, configuration: Configuration | string, options: CallOptions = {}): Promise<Outcome> {
    const { container = "a", interface: name = "eth0", args = "" } = options;
    const type = options.plugin ?? (typeof configuration === "string" ? "weft" : configuration.type);
    const program = [this.#folder, referencePlugins].map((folder) => join(folder, type)).find(existsSync);
    assert.ok(program, `there is no plugin ${type}`);
    const variables: Record<string, string | undefined> = {
      PATH: process.env.PATH,
      CNI_COMMAND: command,
      CNI_CONTAINERID: container,
      CNI_NETNS: options.netns ?? this.netns(container),
      CNI_IFNAME: name,
      CNI_ARGS: args,
      CNI_PATH: `${this.#folder}:${referencePlugins}`,
      ...options.variables,
    };
    using host = this.#lab.namespace(this.#host);
    const child = host.spawn(program, [], { env: variables, stdio: ["pipe", "pipe", "inherit"] });
    const closed = once(child, "close");
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk;
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(typeof configuration === "string" ? configuration : JSON.stringify(configuration));
    const timer =
      options.killAfter === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), options.killAfter);
    await closed;
    clearTimeout(timer);
    const answer = output === "" ? undefined : JSON.parse(output);
    return { status: child.exitCode ?? -1, answer, output };
  }

  /** A call that must succeed; its result. */
  async must(command: string, configuration: Configuration, options: CallOptions = {}): Promise<Outcome["answer"]> {
    const { status, answer, output } = await this.call(command, configuration, options);
    assert.equal(status, 0, `${command}: ${output}`);
    return answer;
  }

  /** A call that must fail with this code; its message. */
  async fails(
    code: number,
    command: string,
    configuration: Configuration | string,
    options: CallOptions = {},
  ): Promise<string> {
    const { status, answer, output } = await this.call(command, configuration, options);
    assert.equal(status, 1, `${command}: ${output}`);
    assert.equal(answer.code, code, output);
    return answer.msg;
  }

  /** Runs the plugins of a list one after the other, each with the result of the one before; the last result. */
  async add(plugins: readonly Configuration[], options: CallOptions = {}): Promise<Outcome["answer"]> {
    let prevResult: Outcome["answer"];
    for (const plugin of plugins)
      prevResult = await this.must("ADD", prevResult === undefined ? plugin : { ...plugin, prevResult }, options);
    return prevResult;
  }

  async check(plugins: readonly Configuration[], prevResult: unknown, options: CallOptions = {}): Promise<void> {
    for (const plugin of plugins) await this.must("CHECK", { ...plugin, prevResult }, options);
  }

  async delete(plugins: readonly Configuration[], prevResult: unknown, options: CallOptions = {}): Promise<void> {
    for (const plugin of [...plugins].reverse()) await this.must("DEL", { ...plugin, prevResult }, options);
  }
}
