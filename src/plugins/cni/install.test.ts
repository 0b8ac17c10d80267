import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { installCni, uninstallCni } from "./install.ts";
import { pluginProgram } from "./program.ts";

const web = { name: "web", network: "web", agentSocket: "/run/weft/agent.sock", portmap: false };

test("the plugin and a configuration are written, once, and taken away again", (t) => {
  const top = temporaryDirectory(t);
  const folders = { binDir: join(top, "opt/cni/bin"), confDir: join(top, "etc/cni/net.d") };
  const [plugin, list] = [join(folders.binDir, "weft"), join(folders.confDir, "10-web.conflist")];
  const both = (done: string) => [plugin, list].map((path) => ({ path, done }));
  assert.deepEqual(installCni(folders, web), both("written"));
  assert.deepEqual(installCni(folders, web), both("unchanged"));
  assert.ok(readFileSync(plugin).equals(readFileSync(pluginProgram(process.arch))));
  assert.equal(statSync(plugin).mode & 0o777, 0o755);
  assert.deepEqual(JSON.parse(readFileSync(list, "utf8")), {
    cniVersion: "1.0.0",
    cniVersions: ["0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    name: "web",
    plugins: [
      {
        type: "weft",
        network: "web",
        agentSocket: "/run/weft/agent.sock",
        capabilities: { ips: true, mac: true, bandwidth: true, aliases: true, portMappings: true },
      },
    ],
  });
  // A plugin of another version gives way, and so does a configuration that weft wrote otherwise.
  writeFileSync(plugin, "no agent of weft runs on this node, said an older one");
  assert.deepEqual(
    installCni(folders, { ...web, portmap: true }).map(({ done }) => done),
    ["written", "written"],
  );
  const { plugins } = JSON.parse(readFileSync(list, "utf8"));
  assert.deepEqual(
    plugins.map(({ type, capabilities }: { type: string; capabilities: object }) => [type, Object.keys(capabilities)]),
    [
      ["weft", ["ips", "mac", "bandwidth", "aliases"]],
      ["portmap", ["portMappings"]],
    ],
  );
  assert.deepEqual(uninstallCni(folders), [
    { path: list, done: "removed" },
    { path: plugin, done: "removed" },
  ]);
  assert.deepEqual(uninstallCni(folders), []);
  assert.deepEqual([readdirSync(folders.binDir), readdirSync(folders.confDir)], [[], []]);
});

test("a configuration for pods names no network", (t) => {
  const top = temporaryDirectory(t);
  const folders = { binDir: top, confDir: top };
  const { network: _, ...pods } = { ...web, name: "weft" };
  assert.deepEqual(
    [1, 2].map(() => installCni(folders, pods).map(({ done }) => done)),
    [
      ["written", "written"],
      ["unchanged", "unchanged"],
    ],
  );
  assert.equal("network" in JSON.parse(readFileSync(join(top, "10-weft.conflist"), "utf8")).plugins[0], false);
  assert.deepEqual(
    uninstallCni(folders).map(({ done }) => done),
    ["removed", "removed"],
  );
});

test("what is not weft's, or was changed, is neither replaced nor taken away", (t) => {
  const top = temporaryDirectory(t);
  const folders = { binDir: top, confDir: top };
  const [plugin, list] = [join(top, "weft"), join(top, "10-web.conflist")];
  writeFileSync(plugin, "#!/bin/sh");
  assert.throws(() => installCni(folders, web), /weft is there, and another program/);
  assert.deepEqual(readdirSync(top), ["weft"]);
  assert.equal(uninstallCni(folders)[0]?.done, "left");
  writeFileSync(plugin, readFileSync(pluginProgram(process.arch)));
  installCni(folders, web);
  installCni(folders, { ...web, name: "other" });
  writeFileSync(list, readFileSync(list, "utf8").replace("1.0.0", "0.4.0"));
  assert.throws(() => installCni(folders, web), /10-web.conflist is there, and not as weft writes it/);
  writeFileSync(join(top, "99-theirs.conflist"), '{"name":"theirs","plugins":[{"type":"bridge"}]}');
  assert.deepEqual(uninstallCni(folders), [
    { path: join(top, "10-other.conflist"), done: "removed" },
    { path: list, done: "left", reason: "it is not as weft wrote it" },
    { path: plugin, done: "left", reason: `needed by ${list}` },
  ]);
  assert.deepEqual(readdirSync(top).sort(), ["10-web.conflist", "99-theirs.conflist", "weft"]);
});

test("one configuration goes by its name, and the plugin with the last", (t) => {
  const top = temporaryDirectory(t);
  const folders = { binDir: top, confDir: top };
  installCni(folders, web);
  installCni(folders, { ...web, name: "other" });
  assert.deepEqual(
    uninstallCni(folders, "other").map(({ done }) => done),
    ["removed", "left"],
  );
  assert.deepEqual(
    uninstallCni(folders, "web").map(({ done }) => done),
    ["removed", "removed"],
  );
  assert.deepEqual(readdirSync(top), []);
});

test("the plugin stays while any configuration needs it, whoever wrote that, and these are named", (t) => {
  const top = temporaryDirectory(t);
  const folders = { binDir: top, confDir: top };
  const others = {
    "20-a.conf": { name: "a", type: "weft", network: "web" },
    "20-b.json": { name: "b", type: "macvlan", ipam: { type: "weft", network: "web" } },
    "20-c.conflist": { name: "c", plugins: [{ type: "bridge", ipam: { type: "weft", network: "web" } }] },
  };
  const write = (file: string, content: object) => writeFileSync(join(top, file), JSON.stringify(content));
  for (const [file, content] of Object.entries(others)) write(file, content);
  write("20-d.conflist", { name: "d", plugins: [{ type: "bridge", ipam: { type: "host-local" } }, null] });
  write("20-e.conf.off", others["20-a.conf"]);
  writeFileSync(join(top, "20-f.json"), '"weft');
  installCni(folders, web);
  const plugin = join(top, "weft");
  for (const first of Object.keys(others)) {
    const needing = readdirSync(top).filter((file) => file >= first && file in others);
    const reason = `needed by ${needing.map((file) => join(top, file)).join(", ")}`;
    assert.deepEqual(
      uninstallCni(folders).filter(({ path }) => path === plugin),
      [{ path: plugin, done: "left", reason }],
    );
    rmSync(join(top, first));
  }
  assert.deepEqual(uninstallCni(folders), [{ path: plugin, done: "removed" }]);
});
