/** The lab itself: it comes up whole or not at all, and leaves nothing behind. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Lab } from "../../src/lab/lab.ts";
import { labNames } from "../../src/lab/names.ts";
import { weftProgram } from "../../src/lab/process.ts";
import {
  createNamedNamespace,
  deleteNamedNamespace,
  NetworkNamespace,
  namedNamespacePath,
} from "../../src/linux/index.ts";
import {
  BackgroundProgram,
  cleanUp,
  namespaceNames,
  type Owner,
  removeLab,
  testDirectory,
  testLab,
  uniqueName,
  until,
  weft,
  weftJson,
} from "../support/cluster.ts";
import { requires } from "../support/kernel.ts";

const aWholeLab = requires("quick processes");

/** What of a lab's name is there: namespaces, files and processes. */
function traces(name: string): string[] {
  const names = labNames(name);
  return [...namespaceNames().filter(names.isOwn), ...(existsSync(names.directory) ? [names.directory] : [])];
}

function nameForTest(owner: Owner): string {
  const name = uniqueName();
  cleanUp(owner, () => removeLab(name));
  return name;
}

test("up, status, run and down, as a person types them", aWholeLab, async (t) => {
  const name = nameForTest(t);
  const up = await weft(["lab", "up", "--name", name]);
  assert.equal(up.status, 0, up.complaints);
  const rows = (await weftJson(["lab", "status", "--name", name])) as {
    readonly name: string;
    readonly state: string;
  }[];
  assert.deepEqual(
    rows.map(({ name, state }) => `${name} ${state}`),
    ["server running", "h1 running", "h2 running", "h3 running"],
  );
  const again = await weft(["lab", "up", "--name", name]);
  assert.equal(again.status, 1);
  assert.match(again.complaints, /it stands already\n {2}try: .*weft lab down --name/);
  const inside = await weft(["lab", "run", "--name", name, "h1", "--", "weft", "status", "-o", "json"]);
  assert.equal(inside.status, 0, inside.complaints);
  assert.equal(JSON.parse(inside.output).agent.node, "h1");
  const short = await weft(["lab", "run", "--name", name, "h1", "ip", "-j", "link", "show", "lo"]);
  assert.equal(JSON.parse(short.output)[0].ifname, "lo");
  const nowhere = await weft(["lab", "run", "--name", name, "h9", "--", "true"]);
  assert.equal(nowhere.status, 1);
  assert.match(nowhere.complaints, /enter h9 of lab .*no such host or container/);
  const failing = await weft(["lab", "run", "--name", name, "h1", "--", "sh", "-c", "exit 7"]);
  assert.equal(failing.status, 7);

  const standing = Lab.open(name);
  const down = await weft(["lab", "down", "--name", name]);
  assert.equal(down.status, 0, down.complaints);
  assert.deepEqual(traces(name), []);
  assert.deepEqual(
    standing.processes.filter(({ running }) => running),
    [],
  );
  const gone = await weft(["lab", "down", "--name", name]);
  assert.equal(gone.status, 1);
  assert.match(gone.complaints, /no such lab stands/);
});

test("Ctrl-C while a lab comes up leaves nothing", aWholeLab, async (t) => {
  for (const moment of [/a switch/, /embedded store/, /an agent on each/]) {
    const name = nameForTest(t);
    using here = NetworkNamespace.current();
    const up = new BackgroundProgram(t, here, weftProgram, ["lab", "up", "--name", name]);
    await up.said(moment);
    assert.notEqual(await up.end("SIGINT"), 0);
    assert.match(up.complaints, /interrupted/);
    assert.deepEqual(traces(name), [], `interrupted at ${moment}`);
  }
});

test("names that something else has are refused, and what has them stays", async (t) => {
  const name = nameForTest(t);
  const stranger = `${name}h1-acme`;
  createNamedNamespace(stranger);
  cleanUp(t, () => deleteNamedNamespace(stranger));
  await assert.rejects(Lab.up({ name }), {
    code: "already-exists",
    reason: `network namespaces with its names are there already: ${stranger}`,
  });
  assert.deepEqual(traces(name), [stranger]);
});

test("a lab whose names another lab would take for its own is refused", () => {
  for (const name of ["bigh1", "labh12", "h3", "", "Lab", "1ab", "la-b", "abcdefghijklm"])
    assert.throws(() => labNames(name), { code: "invalid-argument" }, name);
  for (const name of ["lab", "bigh", "h0", "abcdefghijkl"]) assert.equal(labNames(name).lab, name);
});

test("down after everything was killed, and an agent that cannot come up, leave nothing", aWholeLab, async (t) => {
  const lab = await testLab(t, { hosts: 1 });
  for (const { name } of lab.processes) lab.kill(name);
  await until(() => assert.ok(lab.processes.every(({ running }) => !running)));
  // Its VTEP address is gone: the agent ends, and says why.
  using h1 = lab.namespace("h1");
  const flush = new BackgroundProgram(t, h1, "ip", ["addr", "flush", "dev", "eth0"]);
  await flush.ended();
  await lab.startServer();
  await assert.rejects(lab.startAgent("h1"), /start h1 of lab .*no interface of this host has it/s);
  await lab.down();
  await lab.down();
  assert.deepEqual(traces(lab.names.lab), []);
  assert.throws(() => lab.namespace("h1"), { code: "not-found" });
  assert.ok(!existsSync(namedNamespacePath(lab.names.switch)));
});

test("the demonstration, ended by Ctrl-C while it captures, leaves nothing", aWholeLab, async (t) => {
  const scratch = testDirectory(t);
  using here = NetworkNamespace.current();
  const words = ["-c", `TMPDIR=${scratch} exec ${weftProgram} lab demo`];
  const demo = new BackgroundProgram(t, here, "/bin/sh", words);
  cleanUp(t, () => removeLab(`demo${demo.pid}`));
  await demo.said(/tenants blue and red/);
  assert.notDeepEqual(traces(`demo${demo.pid}`), []);
  await demo.said(/What crosses the underlay/);
  assert.equal(await demo.end("SIGINT"), 1);
  assert.match(demo.complaints, /interrupted/);
  assert.deepEqual(traces(`demo${demo.pid}`), []);
  assert.deepEqual(readdirSync(scratch), []);
});
