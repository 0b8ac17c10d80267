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
