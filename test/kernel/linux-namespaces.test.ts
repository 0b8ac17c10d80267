/** Network namespaces: made, named, entered and left, held open, removed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, readlinkSync } from "node:fs";
import { test } from "node:test";
import {
  createNamedNamespace,
  deleteNamedNamespace,
  isErrno,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
  nameNamespace,
  processesIn,
  readNetworkSysctl,
  writeNetworkSysctl,
} from "../../src/linux/index.ts";
import { testNamespace } from "../support/namespaces.ts";

const here = (): string => readlinkSync("/proc/thread-self/ns/net");

test("a namespace that was made is known to ip, and one that ip made is known here", async (t) => {
  using made = testNamespace("made");
  assert.ok(execFileSync("ip", ["netns", "list"], { encoding: "utf8" }).includes(made.name));
  assert.ok((await listNamedNamespaces()).includes(made.name));
  assert.throws(
    () => createNamedNamespace(made.name),
    (error) => isErrno(error, "EEXIST"),
  );
  const foreign = `${made.name}-ip`;
  execFileSync("ip", ["netns", "add", foreign]);
  t.after(() => deleteNamedNamespace(foreign));
  using opened = NetworkNamespace.openNamed(foreign);
  assert.equal(opened.label, foreign);
  assert.notEqual(opened.inode, made.namespace.inode);
  deleteNamedNamespace(foreign);
  assert.equal(namedNamespaceExists(foreign), false);
  assert.ok(!execFileSync("ip", ["netns", "list"], { encoding: "utf8" }).includes(foreign));
  deleteNamedNamespace(foreign);
});

test("run is inside, and comes back after a return and after a throw", () => {
  using inside = testNamespace("inside");
  const home = here();
  assert.equal(
    inside.namespace.run(() => here()),
    `net:[${inside.namespace.inode}]`,
  );
  assert.equal(here(), home);
  assert.throws(
    () =>
      inside.namespace.run(() => {
        throw new Error("in the middle");
      }),
    /in the middle/,
  );
  assert.equal(here(), home);
  using other = testNamespace("other");
  const seen = inside.namespace.run(() => [other.namespace.run(here), here()]);
  assert.deepEqual(seen, [`net:[${other.namespace.inode}]`, `net:[${inside.namespace.inode}]`]);
  assert.equal(here(), home);
});

test("a child is in the namespace, is found there, and its parent is not", async () => {
  using inside = testNamespace("inside");
  const child = inside.namespace.spawn("sleep", ["60"], { stdio: "ignore" });
  await once(child, "spawn");
  assert.equal(readlinkSync(`/proc/${child.pid}/ns/net`), `net:[${inside.namespace.inode}]`);
  assert.deepEqual(processesIn(inside.namespace), [child.pid]);
  child.kill();
  await once(child, "exit");
  assert.deepEqual(processesIn(inside.namespace), []);
});

test("a namespace that is held open outlives its name and can be named again", (t) => {
  using first = testNamespace("first");
  first.shell("ip link add br0 type bridge");
  deleteNamedNamespace(first.name);
  assert.equal(
    first.namespace.run(() => readFileSync("/proc/net/dev", "utf8").includes("br0")),
    true,
  );
  const again = `${first.name}-again`;
  nameNamespace(first.namespace, again);
  t.after(() => deleteNamedNamespace(again));
  assert.match(execFileSync("ip", ["-n", again, "link", "show", "br0"], { encoding: "utf8" }), /br0/);
  assert.throws(
    () => nameNamespace(first.namespace, again),
    (error) => isErrno(error, "EEXIST"),
  );
});

test("what is no network namespace is refused by name", (t) => {
  assert.throws(() => NetworkNamespace.openNamed("there-is-none-of-this-name"), {
    code: "not-found",
    message: /open network namespace there-is-none-of-this-name/,
  });
  for (const path of ["/proc/self/ns/mnt", "/etc/hostname"])
    assert.throws(() => NetworkNamespace.open(path), {
      code: "invalid-argument",
      message: /is not a network namespace/,
    });
  const leftover = `leftover-${process.pid}`;
  closeSync(openSync(namedNamespacePath(leftover), "a"));
  t.after(() => deleteNamedNamespace(leftover));
  assert.equal(namedNamespaceExists(leftover), false);
  createNamedNamespace(leftover);
  assert.equal(namedNamespaceExists(leftover), true);
});

test("sysctls are those of the namespace", () => {
  using one = testNamespace("one");
  using two = testNamespace("two");
  const key = "ipv4/ip_forward";
  writeNetworkSysctl(one.namespace, key, "1");
  writeNetworkSysctl(two.namespace, key, "0");
  assert.equal(readNetworkSysctl(one.namespace, key), "1");
  assert.equal(readNetworkSysctl(two.namespace, key), "0");
  assert.equal(readNetworkSysctl(one.namespace, "no/such/key"), undefined);
  assert.throws(() => writeNetworkSysctl(one.namespace, "no/such/key", "1"), {
    message: `set sysctl net.no.such.key = 1 in ${one.name}: ENOENT`,
  });
});
