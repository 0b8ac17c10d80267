import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../testing/temporary-directory.ts";
import { installDocker, uninstallDocker } from "./install.ts";

test("Docker is told where the agent is, again and elsewhere, and no more", (t) => {
  const pluginDir = join(temporaryDirectory(t), "docker", "plugins");
  const path = join(pluginDir, "weft.spec");
  const install = (agentSocket: string) => installDocker({ pluginDir, agentSocket });
  assert.deepEqual(install("/run/weft/agent.sock"), [{ path, done: "written" }]);
  assert.equal(readFileSync(path, "utf8"), "unix:///run/weft/agent.sock\n");
  assert.equal(statSync(path).mode & 0o777, 0o644);
  assert.deepEqual(install("/run/weft/agent.sock"), [{ path, done: "unchanged" }]);
  assert.deepEqual(install("/run/other.sock"), [{ path, done: "written" }]);
  assert.deepEqual(uninstallDocker(pluginDir), [{ path, done: "removed" }]);
  assert.deepEqual(uninstallDocker(pluginDir), []);
  assert.equal(existsSync(path), false);
});

test("what is not weft's stays, and a socket that Docker cannot read is refused", (t) => {
  const pluginDir = temporaryDirectory(t);
  const path = join(pluginDir, "weft.spec");
  for (const agentSocket of ["agent.sock", "/run/a b", "/run/ä", "/run/a?b", "/run/a%20b", ""])
    assert.throws(() => installDocker({ pluginDir, agentSocket }), /the agent's socket: found/);
  assert.equal(existsSync(path), false);
  writeFileSync(path, "tcp://192.0.2.1:80\n");
  assert.throws(() => installDocker({ pluginDir, agentSocket: "/run/a" }), /is another plugin's/);
  assert.deepEqual(uninstallDocker(pluginDir), [{ path, done: "left", reason: "it is not as weft wrote it" }]);
});
