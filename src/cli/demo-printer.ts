import type { WriteStream } from "node:tty";
import type { DemoOutput, Finding } from "../lab/demo.ts";

/** Prints the demonstration as it goes, and what came of it at the end. */
export function demoPrinter(stream: WriteStream): DemoOutput & { summary(findings: readonly Finding[]): void } {
  const isColoured = stream.isTTY && process.env.NO_COLOR === undefined;
  const paint = (code: number, text: string): string => (isColoured ? `\u001b[${code}m${text}\u001b[0m` : text);
  const began = performance.now();
  const seconds = (): string => ((performance.now() - began) / 1000).toFixed(1).padStart(5);
  const mark = (finding: Finding): string => (finding.asPromised ? paint(32, "✔") : paint(31, "✘"));
  const line = (text: string): void => void stream.write(`${text}\n`);
  return {
    title: (text) => line(`\n${paint(2, `${seconds()} s`)}  ${paint(1, text)}`),
    step: (text) => line(`           ${paint(2, text)}`),
    finding: (finding) => line(`         ${mark(finding)} ${finding.what}: ${paint(1, finding.figures)}`),
    summary(findings) {
      const width = Math.max(...findings.map((finding) => finding.what.length));
      line(`\n${paint(1, "What was shown")}`);
      for (const finding of findings) line(`  ${mark(finding)} ${finding.what.padEnd(width)}  ${finding.figures}`);
      const broken = findings.filter((finding) => !finding.asPromised).length;
      line(
        broken === 0
          ? `\nAll ${findings.length} as promised, in ${seconds().trim()} s. Nothing was left behind. To play with the same lab: bin/weft lab up`
          : `\n${broken} of ${findings.length} NOT as promised.`,
      );
    },
  };
}
