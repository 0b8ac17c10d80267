/**
 * A reporter for `node --test` that writes one JSON object a line, {@link ReportLine}, for the runner beside this file.
 * It goes to a file that both kernels can reach: `--test-reporter=… --test-reporter-destination=FILE`.
 */
import { release } from "node:os";
import { relative } from "node:path";
import type { TestEvent } from "node:test/reporters";
import { inspect } from "node:util";
import { type TestResult, wholeFile } from "./results.ts";

export type ReportLine =
  /** The kernel under the tests, as `uname -r` says it. First of all lines. */
  | { readonly kernel: string }
  | { readonly result: TestResult }
  /** All tests of a file are done, though their results may come later. */
  | { readonly finished: string; readonly passed: boolean; readonly milliseconds: number }
  /** The last line: nothing is missing. */
  | { readonly complete: true };

export default async function* reporter(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  yield line({ kernel: release() });
  /** For each file the names of the tests under way, the outermost first. */
  const open = new Map<string, string[]>();
  const complaints = new Map<string, string>();
  for await (const { type, data } of source)
    switch (type) {
      case "test:start": {
        const file = fileOf(data);
        open.set(file, [...(open.get(file) ?? []).slice(0, data.nesting), nameOf(data)]);
        break;
      }
      case "test:stderr":
        complaints.set(local(data.file), (complaints.get(local(data.file)) ?? "") + data.message);
        break;
      case "test:complete":
        if (isFile(data))
          yield line({
            finished: fileOf(data),
            passed: data.details.passed,
            milliseconds: data.details.duration_ms,
          });
        break;
      case "test:pass":
      case "test:fail": {
        const file = fileOf(data);
        const result: TestResult = {
          file,
          path: [...(open.get(file) ?? []).slice(0, data.nesting), nameOf(data)],
          suite: data.details.type === "suite",
          ...(type === "test:fail"
            ? {
                outcome: "failed",
                error: errorText(data.details.error, isFile(data) ? complaints.get(file) : undefined),
              }
            : data.skip === undefined || data.skip === false
              ? { outcome: "passed" }
              : { outcome: "skipped", reason: data.skip === true ? "" : data.skip }),
        };
        yield line({ result });
        break;
      }
      case "test:summary":
        if (data.file === undefined) yield line({ complete: true });
        break;
    }
}

interface Place {
  readonly name: string;
  readonly file?: string | undefined;
  readonly entryFile?: string | undefined;
}

/** Whether this is what `node --test` makes of a file that declared no test or broke off. */
function isFile({ entryFile }: Place): boolean {
  return entryFile === undefined;
}

function nameOf(place: Place): string {
  return isFile(place) ? wholeFile : place.name;
}

/** The test file, also for tests that are declared in a module that it imports. */
function fileOf({ entryFile, file, name }: Place): string {
  return local(entryFile ?? file ?? name);
}

function local(path: string): string {
  return path.startsWith("/") ? relative(process.cwd(), path) : path;
}

/** What a person needs: the error that was thrown, without the runner's own wrapping, and what the file complained about. */
function errorText(error: Error, complaints = ""): string {
  const thrown = inspect(error.cause ?? error, { colors: false, depth: 6 });
  return complaints === "" ? thrown : `${thrown}\n${complaints.trimEnd()}`;
}

function line(content: ReportLine): string {
  return `${JSON.stringify(content)}\n`;
}
