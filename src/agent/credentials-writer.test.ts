import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { ManualClock } from "../base/clock.ts";
import { seconds } from "../base/duration.ts";
import { Problems } from "../dataplane/index.ts";
import { temporaryDirectory } from "../testing/temporary-directory.ts";
import { CredentialsWriter } from "./credentials-writer.ts";
import { loadCredentials } from "./identity-files.ts";

const credentials = (certificate: string) => ({ certificate, privateKey: "key", caCertificate: "ca" });

test("a certificate that the disk does not take is a problem, and is written when there is room: the newest", (t) => {
  const directory = join(temporaryDirectory(t), "not there");
  const clock = new ManualClock();
  const problems = new Problems(() => {}, clock);
  const writer = new CredentialsWriter({ directory, node: "h1", problems, clock });
  writer.save(credentials("first"));
  writer.save(credentials("second"));
  assert.match(problems.get({ kind: "certificate of node", key: "h1" })?.error.message ?? "", /write .*ENOENT/);
  mkdirSync(directory, { mode: 0o700 });
  clock.advance(seconds(5));
  assert.deepEqual(loadCredentials(directory), credentials("second"));
  assert.equal(problems.size, 0);
});
