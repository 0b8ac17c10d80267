import type { LabelSelector } from "../objects.ts";

/** The requirements of a selector, each as weft's selectors say it. `labelOf`: what weft calls the label of a key. */
export function requirements(
  { matchLabels, matchExpressions }: LabelSelector,
  labelOf: (key: string) => string = (key) => key,
): string[] {
  return [
    ...Object.entries(matchLabels).map(([key, value]) => `${labelOf(key)}=${value}`),
    ...matchExpressions.map(({ key, operator, values }) => requirement[operator](labelOf(key), values.join(","))),
  ];
}

const requirement: Readonly<
  Record<LabelSelector["matchExpressions"][number]["operator"], (label: string, values: string) => string>
> = {
  In: (label, values) => `${label} in (${values})`,
  NotIn: (label, values) => `${label} notin (${values})`,
  Exists: (label) => label,
  DoesNotExist: (label) => `!${label}`,
};
