/** One field of some input that is not as it must be. */
export interface FieldProblem {
  /** The way to the field, as keys and indexes; empty for the input as a whole. */
  readonly path: readonly (string | number)[];
  /** The same as text: `subnets[0]`; empty for the input as a whole. */
  readonly field: string;
  /** What the field holds: `"10.0.0.1/24"`, `0`, `a list of 3`, `nothing`. */
  readonly found: string;
  /** What it may hold. */
  readonly allowed: string;
}

export function fieldProblem(path: readonly (string | number)[], found: string, allowed: string): FieldProblem {
  return { path, field: fieldText(path), found, allowed };
}

/** `subnets[0]: found "10.0.0.1/24"; allowed: …` */
export function formatProblem(problem: FieldProblem): string {
  const field = problem.field === "" ? "" : `${problem.field}: `;
  return `${field}found ${problem.found}; allowed: ${problem.allowed}`;
}

/** A value of untrusted input in a few words. */
export function describeFound(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : `a list of ${value.length}`;
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}…` : value);
  if (typeof value === "object" && value !== null) return "a map";
  return String(value);
}

function fieldText(path: readonly (string | number)[]): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else text += text === "" ? part : `.${part}`;
  }
  return text;
}
