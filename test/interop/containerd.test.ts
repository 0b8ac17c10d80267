/** containerd on two hosts of a lab: `ctr run --cni`, which finds plugin and configuration where `weft cni install` puts them. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import { BackgroundProgram, createNetworks, testLab, theWholeFile, until } from "../support/cluster.ts";
import { busyboxRoot } from "./busybox.ts";

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [{ name: "web", subnets: ["10.1.0.0/16", "fd01::/64"], vni: 100 }]);
const folder = join(lab.names.directory, "containerd");
busyboxRoot(folder);

/** An engine in a host's network namespace, and in a mount namespace with an /etc/cni and /opt of its own. */
class Engine {
  readonly #host: string;
  readonly #prologue: string;
  readonly #ctr: readonly string[];
  readonly #engine: BackgroundProgram;

  constructor(host: string) {
    this.#host = host;
    const own = join(folder, host);
    for (const name of ["etc", "opt/cni/bin"]) mkdirSync(join(own, name), { recursive: true });
    mkdirSync("/etc/cni", { recursive: true });
    this.#prologue = `mount --bind ${own}/etc /etc/cni && mount --bind ${own}/opt /opt && exec "$@"`;
    const address = join(own, "containerd.sock");
    this.#ctr = ["ctr", "--address", address];
    // Neither its socket nor the folders of its runtimes are those of an engine of the machine.
    const configuration = join(own, "config.toml");
    writeFileSync(configuration, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n');
    const words = [
      "--config",
      configuration,
      "--root",
      join(own, "root"),
      "--state",
      join(own, "state"),
      "--address",
      address,
    ];
    using namespace = lab.namespace(host);
    this.#engine = new BackgroundProgram(file, namespace, "containerd", words);
  }

  async ready(): Promise<void> {
    await this.#engine.said(/containerd successfully booted/);
    assert.match(
      await this.#inside(weftProgram, "cni", "install", "--network", "web", "--agent", lab.agentSocket(this.#host)),
      /written/,
    );
  }

  async end(): Promise<void> {
    assert.match(await this.#inside(weftProgram, "cni", "uninstall"), /removed/);
    await this.#engine.end();
  }

  /** A container that waits until it is killed; what `ctr run` is, ends then, and takes it off its network. */
  run(name: string): BackgroundProgram {
    using namespace = lab.namespace(this.#host);
    const words = [...this.#ctr, "run", "--cni", "--rootfs", join(folder, "busybox"), name, "/bin/sleep", "3600"];
    return new BackgroundProgram(file, namespace, "unshare", ["-m", "sh", "-c", this.#prologue, "sh", ...words]);
  }

  ctr(...words: readonly string[]): Promise<string> {
    return this.#inside(...this.#ctr, ...words);
  }

  exec(name: string, ...words: readonly string[]): Promise<string> {
    return this.ctr("task", "exec", "--exec-id", `e${Math.floor(performance.now())}`, name, ...words);
  }

  async #inside(...words: readonly string[]): Promise<string> {
    using namespace = lab.namespace(this.#host);
    const { status, output, complaints } = await runProgram(namespace, "unshare", [
      "-m",
      "sh",
      "-c",
      this.#prologue,
      "sh",
      ...words,
    ]);
    assert.equal(status, 0, `${words.join(" ")}: ${complaints}${output}`);
    return output;
  }
}

const [one, two] = [new Engine("h1"), new Engine("h2")];
for (const engine of [one, two]) await engine.ready();

test("containers of two engines ping each other, and leave nothing", async () => {
  const [a, b] = [`${lab.names.lab}a`, `${lab.names.lab}b`];
  const [first, second] = [one.run(a), two.run(b)];
  const addresses: string[] = [];
  await until(async () => {
    const lines = await two.exec(
      `${lab.names.lab}b`,
      "/bin/ip",
      "-o",
      "address",
      "show",
      "dev",
      "eth0",
      "scope",
      "global",
    );
    addresses.splice(0, 2, ...[...lines.matchAll(/inet6? ([^/]+)\//g)].map(([, address = ""]) => address));
    assert.equal(addresses.length, 2, second.complaints);
  });
  for (const address of addresses)
    await until(async () =>
      assert.match(await one.exec(a, "/bin/ping", "-c", "1", "-W", "2", address), / 0% packet loss/),
    );
  for (const [engine, host, name, program] of [
    [one, "h1", a, first],
    [two, "h2", b, second],
  ] as const) {
    await engine.ctr("task", "kill", "-s", "KILL", name);
    await program.ended();
    assert.deepEqual((await lab.agent(host).getStatus({})).endpoints, []);
  }
  await until(async () => assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []));
  for (const engine of [one, two]) await engine.end();
});
