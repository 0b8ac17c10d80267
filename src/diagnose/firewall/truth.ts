/** What is known of a condition. */
export type Truth = "yes" | "no" | "unknown";

export function both(a: Truth, b: Truth): Truth {
  if (a === "no" || b === "no") return "no";
  return a === "yes" && b === "yes" ? "yes" : "unknown";
}

export function either(a: Truth, b: Truth): Truth {
  if (a === "yes" || b === "yes") return "yes";
  return a === "no" && b === "no" ? "no" : "unknown";
}

export function not(a: Truth): Truth {
  if (a === "unknown") return a;
  return a === "yes" ? "no" : "yes";
}

export const truth = (is: boolean): Truth => (is ? "yes" : "no");

export const anyOf = (all: readonly Truth[]): Truth => all.reduce(either, "no");
