/** Podman with its CNI backend on two hosts of a lab: the engine's own commands, containers on networks of weft's. */
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { createNetworks, inLab, testLab, theWholeFile, until, weft } from "../support/cluster.ts";
import { busyboxRoot } from "./busybox.ts";
import { DockerEngine } from "./docker-engine.ts";

const file = theWholeFile();
const lab = await testLab(file, { hosts: 2 });
await createNetworks(lab, [
  {
    name: "web",
    subnets: ["10.1.0.0/16", "fd01::/64"],
    vni: 100,
    gateways: ["10.1.0.1", "fd01::1"],
    egress: true,
    names: true,
  },
  { name: "other", subnets: ["10.2.0.0/16"], vni: 200 },
]);
const folder = join(lab.names.directory, "podman");
const image = busyboxRoot(folder);

/** An engine of its own on a host. */
class Engine {
  readonly #host: string;
  readonly #options: readonly string[];
  readonly folder: string;

  constructor(host: string) {
    this.#host = host;
    this.folder = join(folder, host);
    mkdirSync(this.folder, { recursive: true });
    const file = join(this.folder, "containers.conf");
    writeFileSync(
      file,
      `[containers]
default_ulimits = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
[network]
network_backend = "cni"
cni_plugin_dirs = ["${this.folder}/bin", "/usr/lib/cni"]
network_config_dir = "${this.folder}/net.d"
`,
    );
    const at = (name: string) => join(this.folder, name);
    this.#options = [
      `CONTAINERS_CONF=${file}`,
      "podman",
      "--root",
      at("root"),
      "--runroot",
      at("run"),
      "--tmpdir",
      at("tmp"),
      "--storage-driver",
      "vfs",
    ];
  }

  async podman(...words: readonly string[]): Promise<string> {
    return (await inLab(lab, this.#host, "env", ...this.#options, ...words)).trim();
  }

  async install(network: string): Promise<void> {
    const folders = ["--bin-dir", join(this.folder, "bin"), "--conf-dir", join(this.folder, "net.d")];
    const agent = ["--agent", lab.agentSocket(this.#host)];
    const { status, complaints } = await weft(["cni", "install", "--network", network, ...agent, ...folders]);
    assert.equal(status, 0, complaints);
  }

  /** Runs a container that waits; its addresses. */
  async run(name: string, network: string, ...words: readonly string[]): Promise<string[]> {
    await this.podman("run", "-d", "--name", name, "--network", network, ...words, "busybox", "/bin/sleep", "3600");
    return this.addresses(name);
  }

  /** Of the container's interface, link-local ones left out. */
  async addresses(name: string): Promise<string[]> {
    const lines = await this.podman("exec", name, "ip", "-o", "address", "show", "dev", "eth0", "scope", "global");
    return [...lines.matchAll(/inet6? ([^/]+)\//g)].map(([, address = ""]) => address);
  }
}

const [one, two] = [new Engine("h1"), new Engine("h2")];
const docker = new DockerEngine(file, lab, "h2", join(folder, "docker"));
after(() => docker.stop());
for (const engine of [one, two]) {
  for (const network of ["web", "other"]) await engine.install(network);
  await engine.podman("import", image, "busybox");
}

test("containers of two engines ping each other, and are apart by network", async () => {
  await one.run("a", "web");
  const there = await two.run("b", "web");
  assert.equal(there.length, 2);
  const [, , ...none] = there;
  assert.deepEqual(none, []);
  for (const address of there)
    await until(async () =>
      assert.match(await one.podman("exec", "a", "ping", "-c", "1", "-W", "2", address), / 0% packet loss/),
    );
  await two.run("c", "other");
  const [apart = ""] =
    (await two.podman("exec", "c", "ip", "-4", "-o", "address", "show", "dev", "eth0")).match(/10\.2\.[\d.]+/) ?? [];
  await assert.rejects(one.podman("exec", "a", "ping", "-c", "1", "-W", "1", apart));
});

test("containers find each other by what podman calls them, across engines", async () => {
  await two.run("named", "web", "--network-alias", "db");
  await one.run("asks", "web", "--dns", "169.254.169.254");
  for (const name of ["named", "db", "named.web.acme.weft"])
    await until(async () =>
      assert.match(await one.podman("exec", "asks", "ping", "-c", "1", "-W", "2", name), / 0% packet loss/),
    );
});

const ask = "exec 3<>/dev/tcp/192.0.2.2/8080; printf 'GET /none HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3";

test("an address and a MAC may be asked for, and a port of the host published", async () => {
  const fixed = await two.run("d", "web", "--ip", "10.1.7.7", "--mac-address", "02:00:00:00:07:07", "-p", "8080:80");
  assert.equal(fixed[0], "10.1.7.7");
  assert.match(await two.podman("exec", "d", "ip", "link", "show", "eth0"), /02:00:00:00:07:07/);
  await two.podman("exec", "d", "httpd", "-p", "80", "-h", "/etc");
  await until(async () => {
    assert.match(await inLab(lab, "h1", "bash", "-c", ask), /^HTTP\/1.[01] 404/);
  });
});

test("a container that is stopped and started again is on its network again", async () => {
  await two.podman("stop", "-t", "0", "b");
  await two.podman("start", "b");
  const lines = await two.podman("exec", "b", "ip", "-4", "-o", "address", "show", "dev", "eth0");
  const [address = ""] = lines.match(/10\.1\.[\d.]+/) ?? [];
  await until(async () =>
    assert.match(await one.podman("exec", "a", "ping", "-c", "1", "-W", "2", address), / 0% packet loss/),
  );
});

// Last, since Docker has its host drop what is forwarded.
test("a container of podman's and one of Docker's on another host talk, by address and name", async () => {
  await docker.install();
  await docker.start();
  await docker.docker("import", image, "busybox");
  await docker.create("web", "web", "--subnet", "10.1.0.0/16");
  await docker.run("whale", "web", "--dns", "169.254.169.254");
  await one.run("seal", "web", "--dns", "169.254.169.254");
  for (const address of [...(await docker.addresses("whale")), "whale"])
    await until(async () =>
      assert.match(await one.podman("exec", "seal", "ping", "-c", "1", "-W", "2", address), / 0% packet loss/),
    );
  for (const address of [...(await one.addresses("seal")), "seal"]) await docker.pings("whale", address);
  await docker.docker("rm", "-f", "whale");
  await docker.docker("network", "rm", "web");
});

test("what is removed leaves nothing", async () => {
  for (const engine of [one, two]) await engine.podman("rm", "-f", "-t", "0", "-a");
  await until(async () => {
    assert.deepEqual((await lab.admin.list({ kind: "endpoint" })).resources, []);
    for (const host of lab.hosts) assert.deepEqual((await lab.agent(host).getStatus({})).endpoints, []);
  });
  const { output } = await weft([
    "cni",
    "uninstall",
    "--bin-dir",
    join(one.folder, "bin"),
    "--conf-dir",
    join(one.folder, "net.d"),
  ]);
  assert.equal(output.match(/^removed/gm)?.length, 3);
});
