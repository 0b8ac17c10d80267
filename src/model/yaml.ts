import { Composer, type Document, isAlias, isMap, isScalar, isSeq, LineCounter, Parser, stringify } from "yaml";
import { messageOf } from "../base/errors.ts";
import { err, ok, type Result } from "../base/result.ts";
import {
  type DeclaredKind,
  type Drafts,
  declarable,
  fieldsOf,
  isDeclared,
  type ResourceKind,
  type Resources,
  undeclarable,
} from "./kinds.ts";
import { describeFound, type FieldProblem, fieldProblem, formatProblem } from "./problem.ts";

/** A resource with its kind, as the documents of a YAML file have it. */
export type Resource = { [Kind in ResourceKind]: { readonly kind: Kind } & Resources[Kind] }[ResourceKind];

/** A resource that an operator declares; nodes and endpoints come into being by themselves. */
export type DeclaredResource = { [Kind in DeclaredKind]: { readonly kind: Kind } & Drafts[Kind] }[DeclaredKind];

/** A field of a file that is not as it must be. */
export interface FileProblem extends FieldProblem {
  readonly file: string;
  /** Counted from 1. */
  readonly line: number;
  /** Counted from 1. */
  readonly column: number;
}

/** UTF-16 code units; more than the largest deployment in one file. */
const maximumLength = 16 * 1024 * 1024;
/** Nodes that aliases may stand for in a document; more is an attack ("billion laughs"). */
const maximumAliases = 100;

/** `net.yaml:4:12: subnets[0]: found "10.0.0.1/24"; allowed: …` */
export function formatFileProblem(problem: FileProblem): string {
  return `${problem.file}:${problem.line}:${problem.column}: ${formatProblem(problem)}`;
}

/**
 * Reads the resources that a YAML text declares, one a document: `kind: tenant` or `kind: network` beside the fields
 * of the resource. Fields left out have their defaults. All problems are reported at once, in the order of the text.
 * `file` is for the problems only.
 */
export function parseResources(text: string, file: string): Result<DeclaredResource[], FileProblem[]> {
  const lines = new LineCounter();
  const problems: LocatedProblem[] = [];
  const resources: DeclaredResource[] = [];
  const lineOf = new Map<string, number>();
  for (const document of parseDocuments(text, lines, problems)) {
    const read = readDocument(document, text);
    if (!read.ok) {
      problems.push(...read.error);
      continue;
    }
    const resource = read.value;
    if (resource === undefined) continue;
    const key = `${resource.kind} ${resource.name}`;
    const offset = offsetOf(document, ["name"]);
    const earlier = lineOf.get(key);
    if (earlier !== undefined) {
      const problem = fieldProblem(["name"], `${key}, as in line ${earlier}`, "each resource once");
      problems.push({ ...problem, offset });
    }
    lineOf.set(key, earlier ?? lines.linePos(offset).line);
    resources.push(resource);
  }
  if (problems.length === 0) return ok(resources);
  problems.sort((a, b) => a.offset - b.offset);
  return err(
    problems.map(({ offset, ...problem }) => {
      const { line, col } = lines.linePos(offset);
      return { ...problem, file, line: Math.max(line, 1), column: Math.max(col, 1) };
    }),
  );
}

/** YAML that {@link parseResources} reads back to the same, as far as the kinds can be declared. */
export function stringifyResources(resources: readonly Resource[]): string {
  // Without line width nothing is folded; without aliases equal lists stay readable.
  const options = { lineWidth: 0, aliasDuplicateObjects: false };
  return resources
    .map(({ kind, ...resource }) => stringify({ kind, ...fieldsOf(kind, resource as never) }, options))
    .join("---\n");
}

interface LocatedProblem extends FieldProblem {
  /** Index in the text. */
  readonly offset: number;
}

/** One document after the other, so that only one is in memory at a time. */
function* parseDocuments(text: string, lines: LineCounter, problems: LocatedProblem[]): Generator<Document.Parsed> {
  if (text.length > maximumLength) {
    const found = `a file of ${text.length} characters`;
    problems.push({ ...fieldProblem([], found, `at most ${maximumLength} characters`), offset: 0 });
    return;
  }
  try {
    // logLevel: the library would write warnings to standard error; they are reported as problems.
    yield* new Composer({ logLevel: "error" }).compose(new Parser(lines.addNewLine).parse(text));
  } catch (thrown) {
    problems.push({
      ...fieldProblem([], unreadable(messageOf(thrown), thrown instanceof RangeError), readable),
      offset: 0,
    });
  }
}

/** `undefined`: the document is empty. */
function readDocument(document: Document.Parsed, text: string): Result<DeclaredResource | undefined, LocatedProblem[]> {
  const flaws = syntaxProblems(document, text);
  if (flaws.length > 0) return err(flaws);
  if (document.contents === null || (isScalar(document.contents) && document.contents.source === ""))
    return ok(undefined);
  let input: unknown;
  try {
    input = document.toJS({ maxAliasCount: maximumAliases });
  } catch (thrown) {
    const problem = fieldProblem(
      [],
      messageOf(thrown),
      `an anchor before each alias, and aliases for at most ${maximumAliases} nodes`,
    );
    return err([{ ...problem, offset: offsetOf(document, []) }]);
  }
  const resource = readResource(input);
  if (resource.ok) return resource;
  return err(resource.error.map((problem) => ({ ...problem, offset: offsetOf(document, problem.path) })));
}

function readResource(input: unknown): Result<DeclaredResource, FieldProblem[]> {
  if (typeof input !== "object" || input === null || Array.isArray(input))
    return err([fieldProblem([], describeFound(input), "a map with kind and the fields of a resource")]);
  const { kind, ...fields } = input as Record<string, unknown>;
  if (isDeclared(kind)) {
    const read: Result<object, FieldProblem[]> = declarable[kind](fields);
    return read.ok ? ok({ kind, ...read.value } as DeclaredResource) : read;
  }
  const allowed = Object.keys(declarable).join(" or ");
  const reason =
    typeof kind === "string" && Object.hasOwn(undeclarable, kind)
      ? `; ${undeclarable[kind as keyof typeof undeclarable]}`
      : "";
  return err([fieldProblem(["kind"], describeFound(kind), allowed + reason)]);
}

/** Duplicate fields, and the first error of another kind: those after it are mostly its consequences. */
function syntaxProblems(document: Document.Parsed, text: string): LocatedProblem[] {
  const problems: LocatedProblem[] = [];
  let isFirst = true;
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    const offset = pos[0];
    if (code === "DUPLICATE_KEY") {
      const key = /^[^\s:]*/.exec(text.slice(offset, offset + 80))?.[0] ?? "";
      problems.push({ ...fieldProblem([key], "a second field of this name", "each field once"), offset });
    } else {
      if (isFirst)
        problems.push({ ...fieldProblem([], unreadable(message, code === "RESOURCE_EXHAUSTION"), readable), offset });
      isFirst = false;
    }
  }
  return problems;
}

const readable = "YAML 1.2";

/** The parser recurses, so that very deep nesting ends in a RangeError about the stack. */
function unreadable(message: string, isTooDeep: boolean): string {
  return `unreadable text (${isTooDeep ? "nested too deeply" : message})`;
}

/** Where the value at `path` starts, or, when there is none, what should contain it. */
function offsetOf(document: Document.Parsed, path: readonly (string | number)[]): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? document.range[0];
  for (const part of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(isScalar(key) ? key.value : key) === String(part));
      if (pair === undefined) break;
      offset = startOf(pair.value) ?? startOf(pair.key) ?? offset;
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(part)];
      offset = startOf(node) ?? offset;
    } else break;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isAlias(node) || isMap(node) || isSeq(node) || isScalar(node) ? node.range?.[0] : undefined;
}
