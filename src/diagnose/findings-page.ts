import { findingCodes } from "./codes.ts";

const beginning = `# Findings

What [\`weft doctor\`](diagnosis.md#doctor) can find, by code. Codes are stable: what one means stays. With each finding come what was expected
and what was found; cause and cure stand here as far as they are the same each time, and a finding may know better.

**error**: something does not work because of it. **warning**: it works, and will not for long or not for all. **notice**: it is meant to
be so, and explains what people see. \`weft doctor\` exits with 1 if there is an error.
`;

/** docs/findings.md: one part for each code. */
export function findingsPage(): string {
  const parts = Object.entries(findingCodes).map(
    ([code, { severity, title, cause, cure }]) =>
      `## ${code}\n\n**${severity}**: ${title}.\n\nLikely because: ${cause}.\n\nTo do: ${cure}.\n`,
  );
  return [beginning, ...parts].join("\n");
}
