/**
 * Breaks a lab in each of the ways that it can be broken, and asks `weft doctor` on the hosts concerned: whether it names the right cause
 * there, and how long that took.
 *
 *     npm run faults               all of them, in a lab of its own
 *     npm run faults NAME...       these
 */
import { performance } from "node:perf_hooks";
import { renderTable } from "../../src/cli/table.ts";
import type { ShownFinding } from "../../src/diagnose/messages.ts";
import { breakLab, faults, hasSymptom, mendLab, unmet } from "../../src/lab/faults/index.ts";
import { Lab } from "../../src/lab/lab.ts";
import { runProgram, weftProgram } from "../../src/lab/process.ts";
import { setScene } from "../../src/lab/scenario.ts";

interface Row {
  readonly fault: string;
  readonly expected: string;
  readonly found: string;
  readonly seconds: string;
  readonly state: "done" | "missing" | "skipped";
}

/** The host whose agent has a place: containers of the lab's scenario are on the host that they were put on. */
const homes: Readonly<Record<string, string>> = { blue1: "h1", blue2: "h2", world1: "h1", open3: "h1" };
/** How long a symptom is waited for, and how often it is looked for; milliseconds. */
const symptomLimit = 20_000;

const names = process.argv.slice(2);
const unknown = names.filter((name) => !faults.some((fault) => fault.name === name));
if (unknown.length > 0) {
  process.stderr.write(`faults: no such fault: ${unknown.join(", ")}; see weft lab list\n`);
  process.exit(2);
}

const lab = await Lab.up({ name: `f${process.pid}` });
const rows: Row[] = [];
try {
  await setScene(lab, () => {});
  for (const fault of faults) {
    if (names.length > 0 && !names.includes(fault.name)) continue;
    const expected = fault.expected.map(({ code, host }) => `${code} on ${host}`).join(", ");
    const missing = unmet(fault.needs);
    if (missing !== undefined) {
      rows.push({
        fault: fault.name,
        expected,
        found: `not on this kernel: ${missing}`,
        seconds: "",
        state: "skipped",
      });
      continue;
    }
    await breakLab(lab, fault.name);
    const end = performance.now() + symptomLimit;
    while (!(await hasSymptom(lab, fault)) && performance.now() < end);
    const began = performance.now();
    const found = new Map<string, readonly string[]>();
    for (const host of new Set(fault.expected.map((each) => homes[each.host] ?? each.host)))
      found.set(host, await codesOn(host));
    const seconds = ((performance.now() - began) / 1_000 / Math.max(found.size, 1)).toFixed(1);
    const isNamed = fault.expected.every(({ code, host }) => found.get(homes[host] ?? host)?.includes(code) === true);
    const words = [...found].map(([host, codes]) => `${host}: ${codes.join(", ") || "nothing"}`).join("; ");
    rows.push({ fault: fault.name, expected, found: words, seconds, state: isNamed ? "done" : "missing" });
    process.stderr.write(`${isNamed ? "named" : "NOT NAMED"}  ${fault.name}: ${words}\n`);
    await mendLab(lab);
  }
} finally {
  await lab.down();
}
process.stdout.write(
  renderTable(
    [
      { header: "fault", value: (row: Row) => row.fault },
      { header: "named", value: (row) => row.state, isState: true },
      { header: "seconds", value: (row) => row.seconds },
      { header: "expected", value: (row) => row.expected },
      { header: "found", value: (row) => row.found },
    ],
    rows,
    { colour: false },
  ),
);
const done = rows.filter(({ state }) => state === "done").length;
const tried = rows.filter(({ state }) => state !== "skipped").length;
process.stdout.write(`${done} of ${tried} named; ${rows.length - tried} not on this kernel\n`);
process.exitCode = done === tried ? 0 : 1;

async function codesOn(host: string): Promise<readonly string[]> {
  using namespace = lab.namespace(host);
  const words = ["doctor", "--agent", lab.agentSocket(host), "-o", "json"];
  const { output, complaints } = await runProgram(namespace, weftProgram, words);
  if (output === "") return [complaints.trim()];
  const { findings } = JSON.parse(output) as { readonly findings: readonly ShownFinding[] };
  return [...new Set(findings.map(({ code }) => code))];
}
