/** What the same tests came to on several kernels: one table and one verdict. Pure. */

/** The path of what `node --test` says about a file that declared no test or broke off. */
export const wholeFile = "the file as a whole";

/** Why a test is skipped on a kernel that lacks what it needs; `words`: what the kernel said. */
export function lacking(feature: string, words: string): string {
  return `this kernel has no ${feature}: ${words}`;
}

/** A test, or a suite of tests, that ended on one kernel. */
export interface TestResult {
  /** Relative to the project's folder. */
  readonly file: string;
  /** Names from the outermost test or suite to this one. */
  readonly path: readonly string[];
  readonly suite: boolean;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it was skipped; empty: it did not say. */
  readonly reason?: string;
  readonly error?: string;
}

/** The tests on one kernel. */
export interface KernelRun {
  /** Above the kernel's column: `host 6.18.44`. */
  readonly kernel: string;
  readonly results: readonly TestResult[];
  /** Why this machine cannot have the kernel. Its tests must run elsewhere then. */
  readonly unavailable?: string;
  /** Why results are missing that should be there. */
  readonly broken?: string;
}

export interface Summary {
  /** Everything that failed, with its error. */
  readonly failures: readonly string[];
  readonly table: readonly string[];
  readonly passed: number;
  readonly failed: number;
  /** Only where the other kernel was left out on purpose: otherwise a test that is skipped everywhere failed. */
  readonly skipped: number;
  /** The run as a whole. */
  readonly ok: boolean;
}

type Cell =
  | { readonly kind: "passed" }
  | { readonly kind: "failed"; readonly error: string }
  | { readonly kind: "skipped"; readonly reason: string }
  /** What it is part of had failed before. */
  | { readonly kind: "not reached" }
  /** The kernel was not there, or its run broke off. */
  | { readonly kind: "not run"; readonly reason: string };

interface Row {
  readonly file: string;
  readonly path: readonly string[];
  readonly suite: boolean;
  readonly cells: readonly Cell[];
}

/** Runs are those that were asked for; one that was asked for and cannot be had is among them. */
export function summarize(runs: readonly KernelRun[]): Summary {
  const rows = rowsOf(runs);
  const verdicts = rows.map((row) => verdictOf(row, runs));
  const count = (verdict: Verdict["verdict"]): number => verdicts.filter((each) => each.verdict === verdict).length;
  const brokenRuns = runs.flatMap(({ kernel, broken }) => (broken === undefined ? [] : [`${kernel}: ${broken}`]));
  const nothing = rows.length === 0 ? ["no test ran"] : [];
  return {
    failures: [...verdicts.flatMap(({ lines }) => lines), ...brokenRuns, ...nothing],
    table: tableOf(rows, runs),
    passed: count("passed"),
    failed: count("failed"),
    skipped: count("skipped"),
    ok: count("failed") === 0 && brokenRuns.length === 0 && nothing.length === 0,
  };
}

/** One row for each test, in the order of the first kernel that has it. */
function rowsOf(runs: readonly KernelRun[]): Row[] {
  const columns = runs.map(({ results }) => byIdentity(results));
  const all = new Map<string, TestResult>();
  for (const column of columns)
    for (const [identity, result] of column) if (!all.has(identity)) all.set(identity, result);
  return [...all]
    .map(([identity, { file, path, suite }]) => ({
      file,
      path,
      suite,
      cells: runs.map((run, index) => cellOf(columns[index]?.get(identity), run, file, path)),
    }))
    .filter(({ suite, path, cells }) => !(suite || path[0] === wholeFile) || !isContainer(cells))
    .sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : 0));
}

/** A suite or file stands for its tests, except where it failed itself or none of them was declared anywhere. */
function isContainer(cells: readonly Cell[]): boolean {
  return cells.every(({ kind }) => kind !== "failed") && cells.some(({ kind }) => kind === "passed");
}

/** Tests of one name in one place are told apart by their order. */
function byIdentity(results: readonly TestResult[]): Map<string, TestResult> {
  const map = new Map<string, TestResult>();
  for (const result of results) {
    let number = 1;
    while (map.has(identityOf(result, number))) number++;
    map.set(identityOf(result, number), result);
  }
  return map;
}

function identityOf({ file, path }: TestResult, number: number): string {
  return JSON.stringify([file, path, number]);
}

function cellOf(result: TestResult | undefined, run: KernelRun, file: string, path: readonly string[]): Cell {
  switch (result?.outcome) {
    case "passed":
      return { kind: "passed" };
    case "failed":
      return { kind: "failed", error: result.error ?? "" };
    case "skipped":
      return result.reason === undefined || result.reason === ""
        ? { kind: "failed", error: "skipped without a reason" }
        : { kind: "skipped", reason: result.reason };
  }
  const away = run.unavailable ?? run.broken;
  if (away !== undefined) return { kind: "not run", reason: away };
  // Of a file that did not break off, nothing is said but its tests.
  if (path[0] === wholeFile && run.results.some((each) => each.file === file)) return { kind: "passed" };
  const around = run.results.filter((each) => each.file === file && contains(each.path, path));
  const skipped = around.find(({ outcome }) => outcome === "skipped");
  if (skipped !== undefined) return { kind: "skipped", reason: skipped.reason ?? "" };
  if (around.some(({ outcome }) => outcome === "failed")) return { kind: "not reached" };
  return { kind: "failed", error: "it was not declared here, and nothing says why: let it declare what it needs" };
}

function contains(outer: readonly string[], inner: readonly string[]): boolean {
  if (outer[0] === wholeFile) return true;
  return outer.length < inner.length && outer.every((name, index) => name === inner[index]);
}

interface Verdict {
  readonly verdict: "passed" | "failed" | "skipped";
  readonly lines: readonly string[];
}

function verdictOf({ file, path, cells }: Row, runs: readonly KernelRun[]): Verdict {
  const name = `${file}: ${path.join(" > ")}`;
  const lines = cells.flatMap((cell, index) =>
    cell.kind === "failed" ? [`${runs[index]?.kernel}: ${name}\n${indent(cell.error)}`] : [],
  );
  if (lines.length > 0) return { verdict: "failed", lines };
  if (cells.some(({ kind }) => kind === "passed")) return { verdict: "passed", lines };
  if (runs.length === 1 && cells[0]?.kind === "skipped") return { verdict: "skipped", lines };
  const why = cells.map((cell, index) => `${runs[index]?.kernel}: ${cellText(cell)}`).join("\n");
  return { verdict: "failed", lines: [`ran on no kernel: ${name}\n${indent(why)}`] };
}

function cellText(cell: Cell): string {
  return "reason" in cell ? `${cell.kind} because ${cell.reason}` : cell.kind;
}

function indent(text: string): string {
  return text.replace(/^(?=.)/gm, "    ");
}

/** Reasons are long and few: the cells have numbers, and the notes below the table their words. */
function tableOf(rows: readonly Row[], runs: readonly KernelRun[]): string[] {
  const notes: string[] = [];
  const shown = (cell: Cell): string => {
    if (!("reason" in cell)) return cell.kind === "failed" ? "FAILED" : cell.kind;
    if (!notes.includes(cell.reason)) notes.push(cell.reason);
    return `${cell.kind} [${notes.indexOf(cell.reason) + 1}]`;
  };
  const lines: { readonly name: string; readonly cells: readonly string[] }[] = [];
  let file = "";
  for (const row of rows) {
    if (row.file !== file) lines.push({ name: row.file, cells: [] });
    file = row.file;
    lines.push({ name: `  ${row.path.join(" > ")}`, cells: row.cells.map(shown) });
  }
  const totals = runs.map((_, index) =>
    ["passed", "failed", "skipped"]
      .map((kind) => `${rows.filter(({ cells }) => cells[index]?.kind === kind).length} ${kind}`)
      .join(", "),
  );
  const head = { name: "test", cells: runs.map(({ kernel }) => kernel) };
  const all = [head, ...lines, { name: `${rows.length} tests`, cells: totals }];
  const widths = [
    Math.min(110, Math.max(...all.map(({ name }) => name.length))),
    ...runs.map((_, index) => Math.max(...all.map(({ cells }) => cells[index]?.length ?? 0))),
  ];
  const text = ({ name, cells }: (typeof all)[number]): string =>
    [name, ...cells]
      .map((word, index) => word.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd();
  const rule = "-".repeat(widths.reduce((sum, width) => sum + width + 2, -2));
  return [
    text(head),
    rule,
    ...lines.map(text),
    rule,
    ...all.slice(-1).map(text),
    ...notes.map((reason, index) => `[${index + 1}] because ${reason}`),
  ];
}
