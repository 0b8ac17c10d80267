import { err, ok, type Result } from "../../base/result.ts";

declare const selectorBrand: unique symbol;
/**
 * Which labels endpoints have, in the words of Kubernetes: `app=web,env in (prod,test),!legacy`. All of it must hold. Canonical, so
 * that `===` compares what is asked for, but for its order.
 */
export type LabelSelector = string & { readonly [selectorBrand]: true };

export type Labels = Readonly<Record<string, string>>;

interface Requirement {
  readonly label: string;
  /** `in`: it is there, and has one of the values. `not-in`: it is not, or has another. */
  readonly operator: "in" | "not-in" | "exists" | "not-exists";
  readonly values: readonly string[];
}

const name = "[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,348}[A-Za-z0-9])?";
const value = "(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?";
const valuePattern = new RegExp(`^${value}$`);
const exists = new RegExp(`^(!?)\\s*(${name})$`);
const equals = new RegExp(`^(${name})\\s*(!=|==?)\\s*(${value})$`);
const among = new RegExp(`^(${name})\\s+(in|notin)\\s+\\(([^()]*)\\)$`);
const most = 64;
const longest = 32_768;

export const labelSelectorAllowed =
  "at most 64 requirements, such as app=web,env in (prod,test),tier!=db,!legacy, of label names and of values of at most 63 letters, digits, dots, hyphens and underscores";

/** Whether a value can be asked for in a selector: empty, or as Kubernetes has label values. */
export function isLabelValue(text: string): boolean {
  return valuePattern.test(text);
}

/** The error says what is allowed. */
export function parseLabelSelector(text: string): Result<LabelSelector, string> {
  if (text.length > longest) return err(labelSelectorAllowed);
  if (text.trim() === "") return ok("" as LabelSelector);
  const parts = splitOutside(text);
  if (parts.length > most) return err(labelSelectorAllowed);
  const read: string[] = [];
  for (const part of parts) {
    const requirement = readRequirement(part.trim());
    if (requirement === undefined) return err(labelSelectorAllowed);
    read.push(requirementText(requirement));
  }
  return ok(read.join(",") as LabelSelector);
}

const known = new Map<LabelSelector, readonly Requirement[]>();
const mostKnown = 10_000;

/** Whether these labels are as the selector asks. */
export function selects(selector: LabelSelector, labels: Labels): boolean {
  return requirementsOf(selector).every((requirement) => isMet(requirement, labels));
}

function isMet({ label, operator, values }: Requirement, labels: Labels): boolean {
  const found = Object.hasOwn(labels, label) ? labels[label] : undefined;
  switch (operator) {
    case "in":
      return found !== undefined && values.includes(found);
    case "not-in":
      return found === undefined || !values.includes(found);
    case "exists":
      return found !== undefined;
    case "not-exists":
      return found === undefined;
  }
}

function requirementsOf(selector: LabelSelector): readonly Requirement[] {
  const before = known.get(selector);
  if (before !== undefined) return before;
  const requirements = selector === "" ? [] : splitOutside(selector).flatMap((part) => readRequirement(part) ?? []);
  if (known.size >= mostKnown) known.clear();
  known.set(selector, requirements);
  return requirements;
}

/** By the commas that are outside parentheses. */
function splitOutside(text: string): string[] {
  return text.split(/,(?![^(]*\))/);
}

function readRequirement(text: string): Requirement | undefined {
  const [, not, alone] = exists.exec(text) ?? [];
  if (alone !== undefined) return { label: alone, operator: not === "!" ? "not-exists" : "exists", values: [] };
  const [, label, sign, only] = equals.exec(text) ?? [];
  if (label !== undefined) return { label, operator: sign === "!=" ? "not-in" : "in", values: [only ?? ""] };
  const [, of, word, list] = among.exec(text) ?? [];
  if (of === undefined) return undefined;
  const values = [...new Set(list?.split(",").map((each) => each.trim()))].sort();
  if (values.length > most || !values.every(isLabelValue)) return undefined;
  return { label: of, operator: word === "in" ? "in" : "not-in", values };
}

function requirementText({ label, operator, values }: Requirement): string {
  switch (operator) {
    case "exists":
      return label;
    case "not-exists":
      return `!${label}`;
    case "in":
      return values.length === 1 ? `${label}=${values[0]}` : `${label} in (${values.join(",")})`;
    case "not-in":
      return values.length === 1 ? `${label}!=${values[0]}` : `${label} notin (${values.join(",")})`;
  }
}
