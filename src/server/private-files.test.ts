import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, linkSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { refusal, startTestServer } from "../../test/support/server.ts";
import { writeFileDurably } from "../linux/durable-file.ts";
import { preparePrivateDirectory, readPrivateFile } from "../linux/private-files.ts";
import { SqliteStore } from "../store/index.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";

const isRoot = process.getuid?.() === 0;

const prepare = (path: string): void => preparePrivateDirectory(path, "the data directory", "");
const refuses = (reason: RegExp) => refusal("failed-precondition", reason);

test("a directory is made for its user alone; one that others may write to is refused, with the command that mends", (t) => {
  const top = temporaryDirectory(t);
  const directory = join(top, "a/b");
  prepare(directory);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
  chmodSync(directory, 0o755);
  prepare(directory);
  chmodSync(directory, 0o775);
  assert.throws(
    () => prepare(directory),
    (error: { hint?: string }) => error.hint?.startsWith(`chmod go-w ${directory}`) === true,
  );
  chmodSync(directory, 0o1777);
  assert.throws(() => prepare(directory), refuses(/others may write to .*: its mode is 1777/));
  chmodSync(directory, 0o700);
  chmodSync(top, 0o777);
  assert.throws(() => prepare(directory), refuses(/others may write to/));
  chmodSync(top, 0o1777);
  prepare(directory);
  symlinkSync(directory, join(top, "link"));
  prepare(join(top, "link"));
  writeFileSync(join(top, "file"), "");
  assert.throws(() => prepare(join(top, "file")), refuses(/EEXIST|no directory/));
});

test("a directory or file of somebody else is refused", {
  skip: isRoot ? false : "giving files away takes root",
}, (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, "key");
  writeFileSync(file, "secret", { mode: 0o600 });
  chownSync(file, 65_534, 65_534);
  assert.throws(() => readPrivateFile(file), refuses(/belongs to user 65534/));
  chownSync(directory, 65_534, 65_534);
  assert.throws(() => prepare(directory), refuses(/belongs to user 65534, who could replace its files/));
  chownSync(directory, 0, 0);
});

test("a file that is open to others, a link, or no file at all is not read", (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, "key");
  assert.equal(readPrivateFile(file), undefined);
  writeFileSync(file, "secret", { mode: 0o600 });
  assert.equal(readPrivateFile(file), "secret");
  symlinkSync(file, join(directory, "link"));
  assert.throws(() => readPrivateFile(join(directory, "link")), refuses(/symbolic link/));
  chmodSync(file, 0o644);
  assert.throws(() => readPrivateFile(file), refuses(/others may read .*: its mode is 0644/));
  chmodSync(file, 0o620);
  assert.throws(() => readPrivateFile(file), refuses(/others may write .*/));
  execFileSync("mkfifo", ["-m", "600", join(directory, "fifo")]);
  assert.throws(() => readPrivateFile(join(directory, "fifo")), refuses(/no regular file/));
});

test("writing durably follows no link and takes over no file of another mode", (t) => {
  const directory = temporaryDirectory(t);
  const file = join(directory, "ca.key");
  const theirs = join(directory, "theirs");
  for (const trap of [
    () => symlinkSync(theirs, `${file}.new`),
    () => linkSync(theirs, `${file}.new`),
    () => symlinkSync(theirs, file),
  ]) {
    rmSync(file, { force: true });
    writeFileSync(theirs, "theirs", { mode: 0o644 });
    trap();
    writeFileDurably(file, "secret");
    assert.equal(readFileSync(theirs, "utf8"), "theirs");
    assert.equal(readPrivateFile(file), "secret");
  }
});

test("a server takes no key, database or socket that is a link or open to others", async (t) => {
  const start = (dataDir: string) => startTestServer(t, { dataDir });
  const first = await start(temporaryDirectory(t));
  await first.server.close();
  const { dataDir } = first;
  chmodSync(join(dataDir, "ca.key"), 0o644);
  await assert.rejects(start(dataDir), refuses(/others may read .*ca.key/));
  chmodSync(join(dataDir, "ca.key"), 0o600);
  const theirs = join(temporaryDirectory(t), "theirs");
  writeFileSync(theirs, "theirs");
  for (const taken of [
    () => symlinkSync(theirs, join(dataDir, "server.sock")),
    () => writeFileSync(join(dataDir, "server.sock"), ""),
  ]) {
    taken();
    await assert.rejects(start(dataDir), refuses(/symbolic link is there|no socket is there/));
    rmSync(join(dataDir, "server.sock"));
  }
  for (const suffix of ["", "-wal", "-shm", "-journal"]) {
    const file = join(dataDir, `weft.db${suffix}`);
    symlinkSync(theirs, file);
    assert.throws(() => new SqliteStore(join(dataDir, "weft.db")), refuses(/symbolic link/));
    rmSync(file);
  }
  assert.equal(readFileSync(theirs, "utf8"), "theirs");
});
