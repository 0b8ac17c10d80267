import assert from "node:assert/strict";
import { test } from "node:test";
import { type KernelRun, type Summary, summarize, type TestResult, wholeFile } from "./results.ts";

const file = "test/kernel/a.test.ts";

function result(path: string, outcome: TestResult["outcome"], rest: Partial<TestResult> = {}): TestResult {
  return { file, path: path.split(" > "), suite: false, outcome, ...rest };
}

const passed = (path: string): TestResult => result(path, "passed");
const failed = (path: string, error: string): TestResult => result(path, "failed", { error });
const skipped = (path: string, reason: string): TestResult => result(path, "skipped", { reason });
const run = (kernel: string, ...results: TestResult[]): KernelRun => ({ kernel, results });

function verdict({ passed, failed, skipped, ok }: Summary): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped: ${ok ? "ok" : "not ok"}`;
}

test("one row for each test, one column for each kernel, reasons below", () => {
  const { table } = summarize([
    run("host 6.18", passed("plain"), skipped("geneve", "no geneve"), passed("nft"), skipped("gre", "no gre")),
    run("uml 6.1", passed("plain"), passed("geneve"), skipped("nft", "no inet"), failed("gre", "Error: it broke")),
  ]);
  assert.deepEqual(table, [
    "test                   host 6.18                      uml 6.1",
    "-----------------------------------------------------------------------------------",
    "test/kernel/a.test.ts",
    "  plain                passed                         passed",
    "  geneve               skipped [1]                    passed",
    "  nft                  passed                         skipped [2]",
    "  gre                  skipped [3]                    FAILED",
    "-----------------------------------------------------------------------------------",
    "4 tests                2 passed, 0 failed, 2 skipped  2 passed, 1 failed, 1 skipped",
    "[1] because no geneve",
    "[2] because no inet",
    "[3] because no gre",
  ]);
});

test("passing on one kernel and skipped on the other is passed", () => {
  const summary = summarize([run("host", skipped("a", "no geneve")), run("uml", passed("a"))]);
  assert.equal(verdict(summary), "1 passed, 0 failed, 0 skipped: ok");
  assert.deepEqual(summary.failures, []);
});

test("failing on one kernel is failed, with the error", () => {
  const summary = summarize([run("host", passed("a")), run("uml 6.1", failed("a", "Error: lost\n  at a.ts"))]);
  assert.equal(verdict(summary), "0 passed, 1 failed, 0 skipped: not ok");
  assert.deepEqual(summary.failures, ["uml 6.1: test/kernel/a.test.ts: a\n    Error: lost\n      at a.ts"]);
});

test("running on neither kernel is failed", () => {
  const summary = summarize([run("host", skipped("a", "no x")), run("uml", skipped("a", "no y"))]);
  assert.equal(verdict(summary), "0 passed, 1 failed, 0 skipped: not ok");
  assert.deepEqual(summary.failures, [
    "ran on no kernel: test/kernel/a.test.ts: a\n    host: skipped because no x\n    uml: skipped because no y",
  ]);
});

test("skipped without a reason is failed", () => {
  const summary = summarize([run("host", passed("a")), run("uml", skipped("a", ""))]);
  assert.equal(verdict(summary), "0 passed, 1 failed, 0 skipped: not ok");
  assert.match(summary.failures.join(), /^uml: .*: a\n +skipped without a reason$/);
});

test("a test that one kernel never heard of is failed", () => {
  const summary = summarize([run("host", passed("a"), passed("b")), run("uml", passed("a"))]);
  assert.equal(verdict(summary), "1 passed, 1 failed, 0 skipped: not ok");
  assert.match(summary.failures.join(), /uml: .*: b\n +it was not declared here/);
});

test("where one kernel alone was asked for, skipped is skipped", () => {
  const summary = summarize([run("host", passed("a"), skipped("b", "no geneve"))]);
  assert.equal(verdict(summary), "1 passed, 0 failed, 1 skipped: ok");
});

test("what a skipped test or suite would have contained is skipped with it", () => {
  const summary = summarize([
    run(
      "host",
      passed("suite > a"),
      passed("suite > b > c"),
      passed("suite > b"),
      result("suite", "passed", { suite: true }),
    ),
    run("uml", result("suite", "skipped", { suite: true, reason: "no inet" })),
  ]);
  assert.equal(verdict(summary), "3 passed, 0 failed, 0 skipped: ok");
  assert.equal(summary.table.filter((line) => / passed +skipped \[1\]$/.test(line)).length, 3);
});

test("what a file that is skipped as a whole would have contained is skipped with it", () => {
  const summary = summarize([
    run("host", passed("a"), passed("b > c"), passed("b")),
    run("uml", skipped(wholeFile, "no x")),
  ]);
  assert.equal(verdict(summary), "3 passed, 0 failed, 0 skipped: ok");
  assert.ok(!summary.table.some((line) => line.includes(wholeFile)));
});

test("a suite that no kernel ran is failed, though nobody knows its tests", () => {
  const suite = result("suite", "skipped", { suite: true, reason: "no x" });
  assert.equal(verdict(summarize([run("host", suite), run("uml", suite)])), "0 passed, 1 failed, 0 skipped: not ok");
});

test("a suite whose hook failed is failed, one whose tests passed has no row", () => {
  const good = result("suite", "passed", { suite: true });
  const bad = result("suite", "failed", { suite: true, error: "Error: hook" });
  assert.equal(
    verdict(summarize([run("host", passed("suite > a"), good), run("uml", passed("suite > a"), bad)])),
    "1 passed, 1 failed, 0 skipped: not ok",
  );
  assert.equal(verdict(summarize([run("host", passed("suite > a"), good)])), "1 passed, 0 failed, 0 skipped: ok");
});

test("a file that breaks off fails once; the tests that it no longer reached are shown as such", () => {
  const summary = summarize([
    run("host", passed("a"), passed("b")),
    run("uml", passed("a"), failed(wholeFile, "Error: exit")),
  ]);
  assert.equal(verdict(summary), "2 passed, 1 failed, 0 skipped: not ok");
  assert.equal(summary.failures.length, 1);
  assert.match(summary.table.join("\n"), /^ {2}b +passed +not reached$/m);
  assert.match(summary.table.join("\n"), /^ {2}the file as a whole +passed +FAILED$/m);
});

test("a kernel that cannot be had: what needs it ran nowhere, the rest passes", () => {
  const uml: KernelRun = { kernel: "uml", results: [], unavailable: "this machine is arm64" };
  const summary = summarize([run("host", passed("a"), skipped("b", "no geneve")), uml]);
  assert.equal(verdict(summary), "1 passed, 1 failed, 0 skipped: not ok");
  assert.match(summary.failures.join(), /uml: not run because this machine is arm64/);
  assert.equal(verdict(summarize([run("host", passed("a")), uml])), "1 passed, 0 failed, 0 skipped: ok");
});

test("a run that breaks off is not ok, whatever passed", () => {
  const uml: KernelRun = { kernel: "uml", results: [passed("a")], broken: "it did not boot" };
  const summary = summarize([run("host", passed("a"), passed("b")), uml]);
  assert.equal(verdict(summary), "2 passed, 0 failed, 0 skipped: not ok");
  assert.deepEqual(summary.failures, ["uml: it did not boot"]);
});

test("tests of one name are told apart by their order", () => {
  const summary = summarize([run("host", passed("a"), passed("a")), run("uml", passed("a"), skipped("a", "no x"))]);
  assert.equal(verdict(summary), "2 passed, 0 failed, 0 skipped: ok");
});

test("no tests at all is not ok", () => {
  assert.equal(verdict(summarize([run("host"), run("uml")])), "0 passed, 0 failed, 0 skipped: not ok");
});
