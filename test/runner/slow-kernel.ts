/**
 * Files of which a kernel that makes processes slow runs nothing. To start one, only to hear that, takes User-Mode Linux most of
 * ten seconds: what such a file declares is read from it instead.
 */

/** Why `"quick processes"` are not to be had there. */
export const slowness = "User-Mode Linux takes ten times as long";

/** Whether a test file, given its text, declares `"quick processes"` as a need of all of its tests: `await fileRequires(…)`. */
export function needsQuickProcesses(text: string): boolean {
  const [, needs = ""] = /^await fileRequires\(([^)]*)\);$/m.exec(text) ?? [];
  return needs.includes('"quick processes"');
}

/** Tests that need quick processes run on User-Mode Linux, too. */
export const isPatient = (process.env.WEFT_TEST_PATIENT ?? "") !== "";

/** What takes two minutes and more there. */
const longest = ["nodes", "uplink", "encapsulations", "network-changes", "distributed-gateway"];

/** The order in which several of these kernels are done at about the same time, each taking the next file when it is done with one. */
export function longestFirst(files: readonly string[]): string[] {
  const place = (file: string): number => {
    const found = longest.findIndex((name) => file.endsWith(`/${name}.test.ts`));
    return found < 0 ? longest.length : found;
  };
  return files.toSorted((a, b) => place(a) - place(b));
}
