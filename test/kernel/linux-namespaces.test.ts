/** Network namespaces: made, named, entered and left, held open, removed. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  canonicalNamespacePath,
  createNamedNamespace,
  deleteNamedNamespace,
  isErrno,
  isPathOfThisProcess,
  listNamedNamespaces,
  NetworkNamespace,
  namedNamespaceExists,
  namedNamespacePath,
  nameNamespace,
  namespaceInodeAt,
  processesIn,
  readNetworkSysctl,
  writeNetworkSysctl,
} from "../../src/linux/index.ts";
import { makeTemporaryDirectory, temporaryDirectory } from "../../src/testing/temporary-directory.ts";
import { testNamespace } from "../support/namespaces.ts";

const sources = join(import.meta.dirname, "../../src");
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
  const directory = makeTemporaryDirectory();
  const bound = join(directory, "uts");
  writeFileSync(bound, "");
  execFileSync("mount", ["--bind", "/proc/self/ns/uts", bound]);
  t.after(() => {
    execFileSync("umount", [bound]);
    rmSync(directory, { recursive: true });
  });
  for (const path of ["/proc/self/ns/mnt", bound, "/etc/hostname", "/dev/tty", directory])
    assert.throws(() => NetworkNamespace.open(path), {
      code: "invalid-argument",
      message: /is not a network namespace/,
    });
  const looped = join(directory, "loop");
  symlinkSync(looped, looped);
  assert.throws(() => NetworkNamespace.open(looped), { code: "invalid-argument", message: /loop: ELOOP/ });
  const leftover = `leftover-${process.pid}`;
  closeSync(openSync(namedNamespacePath(leftover), "a"));
  t.after(() => deleteNamedNamespace(leftover));
  assert.equal(namedNamespaceExists(leftover), false);
  createNamedNamespace(leftover);
  assert.equal(namedNamespaceExists(leftover), true);
});

test("a FIFO is refused, and blocks nobody", (t) => {
  const directory = temporaryDirectory(t);
  const fifo = join(directory, "fifo");
  execFileSync("mkfifo", [fifo]);
  // In a process of its own: one that blocks in open() cannot tell that the test took too long.
  const script = `import("${sources}/linux/namespace.ts").then(({ NetworkNamespace }) => NetworkNamespace.open("${fifo}")).catch((error) => console.log(error.message));`;
  assert.match(
    execFileSync(process.execPath, ["-e", script], { encoding: "utf8", timeout: 60_000 }),
    /is not a network namespace/,
  );
  const name = `fifo-${process.pid}`;
  execFileSync("mkfifo", [namedNamespacePath(name)]);
  t.after(() => rmSync(namedNamespacePath(name)));
  assert.equal(namedNamespaceExists(name), false);
  assert.throws(() => createNamedNamespace(name), { code: "ENXIO" });
});

test("a name under /run/netns is known however its path is spelt", (t) => {
  using made = testNamespace("spelt");
  const path = namedNamespacePath(made.name);
  for (const spelling of [
    path,
    `/var/run/netns/${made.name}`,
    `/run/netns/../netns//${made.name}`,
    `/proc/self/root${path}`,
  ])
    assert.equal(canonicalNamespacePath(spelling), path);
  assert.equal(canonicalNamespacePath("/var/run/netns/there-is-none"), "/run/netns/there-is-none");
  const directory = temporaryDirectory(t);
  const link = join(directory, "link");
  symlinkSync(path, link);
  // Whoever made the link may lead it elsewhere: it is no spelling of the name.
  for (const other of [link, "/proc/1/ns/net", "/no/such/directory/net"])
    assert.equal(canonicalNamespacePath(other), other);
  for (const same of [path, link]) assert.equal(namespaceInodeAt(same), made.namespace.inode);
  for (const none of ["/etc/hostname", "/no/such/file"]) assert.equal(namespaceInodeAt(none), undefined);
  for (const own of ["/proc/self/ns/net", "/proc//thread-self/ns/net", `/proc/${process.pid}/fd/3`])
    assert.equal(isPathOfThisProcess(own), true);
  for (const other of [path, "/proc/1/ns/net", "/proc/self/root/run/netns/red"])
    assert.equal(isPathOfThisProcess(other), false);
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
