/** What came of each case on each kernel, as one table. Pure. */
import type { Check, CheckName, Outcome } from "./attempt.ts";
import { extrasOf, type MatrixCase } from "./cases.ts";

/** What came of a case on one kernel. */
export interface Trial {
  /** `host 6.18.44`, `uml 6.1.176`. */
  readonly kernel: string;
  readonly outcome: Outcome;
  /** What tcpdump and tshark make of the capture, beside weft's codecs. Absent: nothing was captured. */
  readonly readers?: Check;
}

export interface Tried {
  readonly case: MatrixCase;
  readonly trials: readonly Trial[];
}

type Column = CheckName | "readers";

const columns: readonly { readonly name: Column; readonly header: string; readonly withText: boolean }[] = [
  { name: "ping", header: "ping", withText: false },
  { name: "tcp", header: "1 MB TCP", withText: false },
  { name: "fullSize", header: "full size", withText: true },
  { name: "outer", header: "outer header, captured and decoded", withText: true },
  { name: "readers", header: "tcpdump, tshark", withText: false },
];

/** A cell: passed wherever the kernel can, not possible for a reason that is accepted, or failed. */
type Cell =
  | { readonly kind: "passed"; readonly text: string }
  | { readonly kind: "reason"; readonly reason: string }
  | { readonly kind: "failed"; readonly reasons: readonly string[] };

function cellOf({ case: each, trials }: Tried, column: Column): Cell {
  const failures: string[] = [];
  const reasons: string[] = [];
  let passed: string | undefined;
  for (const { kernel, outcome, readers } of trials)
    if (outcome.kind === "refused") {
      if (each.refusal?.test(outcome.reason)) reasons.push(`the server: ${withoutField(outcome.reason)}`);
      else failures.push(`${kernel}: the server refused: ${outcome.reason}`);
    } else if (outcome.kind === "missing") reasons.push(`${kernel}: ${generalOf(outcome.reason)}`);
    else if (outcome.kind === "failed") failures.push(`${kernel}: ${outcome.reason}`);
    else {
      const check = column === "readers" ? readers : outcome.checks[column];
      if (check?.passed) passed ??= check.text;
      else failures.push(`${kernel}: ${check?.text ?? "nothing was captured"}`);
    }
  if (failures.length > 0) return { kind: "failed", reasons: failures };
  if (passed !== undefined) return { kind: "passed", text: passed };
  return reasons.length === 0
    ? { kind: "failed", reasons: ["no kernel tried it"] }
    : { kind: "reason", reason: [...new Set(reasons)].join("; ") };
}

/** The server's words without the field that it found the reason in. */
function withoutField(reason: string): string {
  return reason.replace(/^.*?\]: found /, "found ");
}

/** The kernel's words without the name of the device, which differs from case to case. */
function generalOf(reason: string): string {
  return reason.replace(/^.*?create (\w+) \S+( in \S+)?: /, "create $1: ");
}

/** Kernels that the case was tried on, and those that cannot, with a note. */
function kernelsOf({ trials }: Tried, noteOf: (reason: string) => string): string {
  return trials
    .filter(({ outcome }) => outcome.kind !== "refused")
    .map(({ kernel, outcome }) => {
      const name = kernel.split(" ")[0] ?? "";
      return outcome.kind === "missing" ? `not ${name} ${noteOf(`${kernel}: ${generalOf(outcome.reason)}`)}` : name;
    })
    .join(", ");
}

/** Lines of the table with its notes, and what failed. */
export function renderMatrix(all: readonly Tried[]): {
  readonly lines: readonly string[];
  readonly failures: readonly string[];
} {
  const notes: string[] = [];
  const failures: string[] = [];
  const noteOf = (reason: string): string => {
    if (!notes.includes(reason)) notes.push(reason);
    return `[${notes.indexOf(reason) + 1}]`;
  };
  const head = ["encapsulation", "mode", "discovery", "underlay", "overlay", ...columns.map(({ header }) => header)];
  const rows = all.map((tried) => {
    const { encapsulation, mode, discovery, underlay, overlay } = tried.case;
    const cells = columns.map(({ name, header, withText }) => {
      const cell = cellOf(tried, name);
      if (cell.kind === "passed") return withText ? `✓ ${cell.text}` : "✓";
      if (cell.kind === "reason") return noteOf(cell.reason);
      const isAlone = tried.trials.every(({ outcome }) => outcome.kind !== "tried");
      for (const reason of cell.reasons) failures.push(`${tried.case.name}${isAlone ? "" : `: ${header}`}: ${reason}`);
      return "FAILED";
    });
    const carried = [encapsulation, ...extrasOf(tried.case)].join(" ");
    return [carried, mode, discovery, underlay, overlay, ...cells, kernelsOf(tried, noteOf)];
  });
  const table = [[...head, "kernel"], ...rows];
  const widths = head.map((_, index) => Math.max(...table.map((row) => row[index]?.length ?? 0)));
  const lines = table.map((row) =>
    row
      .map((cell, index) => cell.padEnd(widths[index] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  return {
    lines: [...lines, ...notes.map((reason, index) => `[${index + 1}] ${reason}`)],
    failures: [...new Set(failures)],
  };
}

/** The same for programs: for each case its fields, and for each kernel what came of it. */
export function matrixJson(all: readonly Tried[]): unknown {
  return all.map((tried) => {
    const { name, encapsulation, mode, discovery, port, crossSubnet, underlay, overlay, vni } = tried.case;
    return {
      name,
      encapsulation,
      mode,
      discovery,
      port,
      crossSubnet,
      underlay,
      overlay,
      vni,
      result: Object.fromEntries(columns.map(({ name: column }) => [column, cellOf(tried, column)])),
      kernels: tried.trials.map(({ kernel, outcome, readers }) => ({
        kernel,
        outcome: outcome.kind,
        ...(outcome.kind === "tried"
          ? {
              checks: { ...outcome.checks, ...(readers === undefined ? {} : { readers }) },
              outer: outcome.outer ?? null,
            }
          : { reason: outcome.reason }),
      })),
    };
  });
}
