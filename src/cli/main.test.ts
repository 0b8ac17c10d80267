/** The program as people run it: `bin/weft` with arguments; no server and no agent are there. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Command } from "commander";
import { asNobody } from "../../test/support/nobody.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { createProgram } from "./program.ts";

const bin = join(import.meta.dirname, "../../bin/weft");
const directory = temporaryDirectory({ after });

const absent = join(directory, "absent.sock");

function weft(words: readonly string[], input = "") {
  const environment = { ...process.env, WEFT_SERVER: absent, WEFT_AGENT: absent };
  const { status, stdout, stderr } = spawnSync(bin, words, { encoding: "utf8", env: environment, input });
  return { status, stdout, stderr };
}

const wrongUsage: readonly (readonly [words: readonly string[], error: RegExp])[] = [
  [["frobnicate"], /^weft: read the command line: unknown command 'frobnicate'\n {2}try: weft --help\n$/],
  [["network", "frobnicate"], /^weft: network: unknown command 'frobnicate'\n {2}try: weft network --help\n$/],
  [["network", "list", "--frobnicate"], /^weft: network list: unknown option '--frobnicate'\n {2}try:/],
  [["network", "list", "-o", "xml"], /Allowed choices are table, json, yaml/],
  [["network", "create", "web"], /required option '--tenant <tenant>' not specified/],
  [["network", "create", "web", "--tenant", "blue", "--subnet", "10.0.0.1/8"], /the prefix is 10\.0\.0\.0\/8/],
  [["network", "create", "WEB", "--tenant", "blue", "--subnet", "10.0.0.0/8"], /name: found "WEB"; allowed:/],
  [["network", "create", "web", "--tenant", "blue", "--subnet", "10.0.0.0/8", "--vni", "0"], /Allowed: 1 to 16777215/],
  [["network", "set", "web"], /^weft: change network web: nothing to change was named\n/],
  [["attach", "web"], /say where: --netns NAME, --tap NAME, or --interface NAME/],
  [["attach", "web", "--netns", "red", "--ip", "10.0.0.256"], /"10\.0\.0\.256" is not an IPv4 or IPv6 address/],
  [["attach", "web", "--netns", "red", "--mac", "02:00"], /"02:00" is not a MAC address/],
  [["attach", "web", "--netns", "red", "--interface", "a/b"], /interface name of 1 to 15 bytes/],
  [["cni", "install", "--network", "WEB"], /'--network <network>' argument 'WEB' is invalid. Allowed: /],
  [["cni", "install", "--network", "web", "--name", "-"], /Allowed: letters, digits/],
  [["cni", "install", "--network", "web", "--agent", "run/agent.sock"], /Allowed: an absolute path of at most 107/],
  [["token", "create", "--ttl", "soon"], /"soon" is not a duration/],
  [["server", "--listen", "7400"], /not of the form ADDRESS:PORT/],
  [["agent", "--underlay", "192.0.2.1,192.0.2.2"], /one of IPv4, one of IPv6, one of each, or one interface/],
];

for (const [words, error] of wrongUsage)
  test(`wrong usage gives 2: weft ${words.join(" ")}`, () => {
    const result = weft(words);
    assert.match(result.stderr, error);
    assert.equal(result.status, 2);
    assert.equal(result.stdout, "");
  });

const failures: readonly (readonly [words: readonly string[], error: RegExp])[] = [
  [["network", "list"], /^weft: .*the server at \S+absent\.sock: .*\n {2}try: .*--server or WEFT_SERVER/],
  [["token", "create"], /the server at \S+absent\.sock/],
  [["export"], /the server at \S+absent\.sock/],
  [["fdb"], /^weft: .*the agent at \S+absent\.sock: .*\n {2}try: .*--agent or WEFT_AGENT/],
  [["events"], /the agent at \S+absent\.sock/],
  [
    ["attach", "web", "--netns", "weft-absent"],
    /^weft: attach \/run\/netns\/weft-absent to network web: there is no such namespace\n {2}try: ip netns add weft-absent\n$/,
  ],
  [["apply", "-f", "/nonexistent.yaml"], /^weft: read \/nonexistent\.yaml: ENOENT/],
  [["status"], /the agent at \S+absent\.sock/],
];

for (const [words, error] of failures)
  test(`failure gives 1: weft ${words.join(" ")}`, () => {
    const result = weft(words);
    assert.match(result.stderr, error);
    assert.equal(result.status, 1);
    assert.equal(result.stdout, "");
  });

test("escape sequences in what was given do not reach the terminal", () => {
  const { stderr, status } = weft(["attach", "web", "--netns", "a\u001b]0;owned\u0007\u001b[2J"]);
  assert.match(
    stderr,
    /^weft: attach \/run\/netns\/a\ufffd\]0;owned\ufffd\ufffd\[2J to network web: there is no such namespace\n/,
  );
  assert.ok(!stderr.includes("\u001b"));
  assert.equal(status, 1);
});

test("what was given cannot borrow weft's colours, nor begin a line of its own", () => {
  const { stderr } = weft(["attach", "web", "--netns", "a\u001b[31mb\n  try: c"]);
  assert.match(
    stderr,
    /^weft: attach \/run\/netns\/a\ufffd\[31mb\ufffd {2}try: c to network web: there is no such namespace\n {2}try: ip netns/,
  );
  assert.ok(!stderr.includes("\u001b"));
});

test("all problems of a file are named with their lines, and nothing is asked of the server", () => {
  const file = join(directory, "bad.yaml");
  writeFileSync(file, "kind: network\nname: web\ntenant: blue\nsubnets: [10.0.0.1/24]\nmtu: big\n");
  const { status, stderr } = weft(["apply", "-f", file]);
  assert.match(stderr, /bad\.yaml:4:11: subnets\[0\]: found "10\.0\.0\.1\/24"/);
  assert.match(stderr, /bad\.yaml:5:6: mtu: found "big"/);
  assert.equal(status, 1);
});

test("without a command the help is printed on standard error, with status 2", () => {
  const { status, stdout, stderr } = weft([]);
  assert.match(stderr, /^Usage: weft /);
  assert.equal(stdout, "");
  assert.equal(status, 2);
});

test("the program finds itself through symbolic links", () => {
  const link = join(directory, "weft");
  symlinkSync(bin, join(directory, "first"));
  symlinkSync("first", link);
  const { status, stdout } = spawnSync(link, ["version", "-o", "json"], { encoding: "utf8" });
  assert.equal(status, 0);
  assert.deepEqual(Object.keys(JSON.parse(stdout)), ["weft", "node"]);
});

test("server and agent refuse to run for anyone but root", {
  skip: process.getuid?.() !== 0 && "needs root to become another user",
}, () => {
  for (const words of [["server"], ["agent", "--server", "https://192.0.2.1:7400"]]) {
    const [program = "", ...others] = [...asNobody, bin, ...words];
    const { status, stderr } = spawnSync(program, others, { encoding: "utf8" });
    assert.match(stderr, /^weft: run the (server|agent): it needs root\n {2}try: /);
    assert.equal(status, 1);
  }
});

test("every command has a description, and help with an example", () => {
  const visit = (command: Command, path: string): void => {
    assert.notEqual(command.description(), "", path);
    if (command.commands.length > 0) {
      for (const child of command.commands) visit(child, `${path} ${child.name()}`);
      return;
    }
    let help = "";
    command.configureOutput({ writeOut: (text) => (help += text) });
    command.outputHelp();
    assert.ok(help.includes(`Examples:\n  ${path}`), `${path} has no example`);
  };
  visit(createProgram(), "weft");
});
