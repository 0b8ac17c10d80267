import {
  hasPorts,
  hasTypes,
  type PolicyPort,
  portRange,
  protocolNumber,
  type RankedRule,
} from "../../model/policy/index.ts";
import { type Identifier, identifierOf } from "./identifier.ts";

/** What becomes of packets of a protocol and ports that begin alike. */
export interface VerdictRow {
  /** IANA's number; absent: of all. */
  readonly protocol?: number;
  /** Ports, or types of ICMP messages, whose first `length` of 16 bits are those of `port`; 0: all. */
  readonly port: number;
  readonly length: number;
  readonly verdict: Verdict;
}

export interface Verdict {
  readonly isAllowed: boolean;
  /** What decided, by {@link ruleIdentifier} or {@link outcomeIdentifier}. */
  readonly rule: Identifier;
  /** Of rules that only log, the first that matches before it; 0: none. */
  readonly logged: Identifier;
}

/** What counts as a rule in the kernel: by the names of both, whatever it says. */
export function ruleIdentifier({ policy, rule }: RankedRule): Identifier {
  let known = ruleIdentifiers.get(rule);
  if (known === undefined) {
    known = identifierOf(`rule ${policy.name} ${rule.name}`);
    ruleIdentifiers.set(rule, known);
  }
  return known;
}

const ruleIdentifiers = new WeakMap<RankedRule["rule"], Identifier>();

/** What a list of rules says. */
export interface VerdictList {
  readonly id: Identifier;
  readonly rows: readonly VerdictRow[];
}

const portBits = 16;
/** Of the last port, or of the last type, and one more. */
const portEnd = 1 << portBits;
const typeEnd = 256;

/**
 * The rules, in the order in which they are asked, as rows of which the longest that fits holds. `base`: what holds where none
 * matches.
 */
export function verdictList(rules: readonly RankedRule[], base: Omit<Verdict, "logged">): VerdictList {
  const asked = untilDecided(rules);
  const protocols = new Set(asked.flatMap(({ rule }) => rule.ports.map(({ protocol }) => protocolNumber(protocol))));
  const others = paint(asked, undefined, base)[0];
  if (others === undefined) throw new RangeError("no verdict");
  const rows: VerdictRow[] = [{ port: 0, length: 0, verdict: others.verdict }];
  for (const protocol of protocols) {
    const spans = merged(paint(asked, protocol, base));
    // What the most ports have holds for the protocol.
    const common = spans.reduce((widest, span) => (span.end - span.start > widest.end - widest.start ? span : widest));
    rows.push({ protocol, port: 0, length: 0, verdict: common.verdict });
    for (const span of spans)
      if (!isSame(span.verdict, common.verdict))
        for (const { port, length } of prefixesOf(span)) rows.push({ protocol, port, length, verdict: span.verdict });
  }
  const text = rows.map(({ protocol, port, length, verdict: { isAllowed, rule, logged } }) =>
    [protocol ?? "*", port, length, isAllowed, rule, logged].join(),
  );
  return { id: identifierOf(`list ${text.join(";")}`), rows };
}

/** Behind one that matches everything there is nothing to ask. */
function untilDecided(rules: readonly RankedRule[]): readonly RankedRule[] {
  const end = rules.findIndex(({ rule }) => rule.ports.length === 0 && rule.action !== "log");
  return end < 0 ? rules : rules.slice(0, end + 1);
}

interface Span {
  readonly start: number;
  /** One more than the last. */
  readonly end: number;
  readonly verdict: Verdict;
}

/** What holds for the ports of a protocol (`undefined`: one that no rule names): each rule takes what those before it left. */
function paint(rules: readonly RankedRule[], protocol: number | undefined, base: Omit<Verdict, "logged">): Span[] {
  const end = endOf(protocol);
  const matching = rules.flatMap((ranked) => {
    const ranges = rangesOf(ranked.rule.ports, protocol);
    return ranges.length === 0 ? [] : { ranked, ranges };
  });
  const bounds = new Set([0, end]);
  for (const { ranges } of matching) for (const bound of ranges.flat()) bounds.add(bound);
  const starts = [...bounds].sort((a, b) => a - b);
  const cellAt = new Map(starts.map((start, cell) => [start, cell]));
  const cells = starts.length - 1;
  const verdicts = new Array<Omit<Verdict, "logged"> | undefined>(cells);
  const logged = new Array<Identifier | undefined>(cells);
  const open = new Cells(cells);
  const unlogged = new Cells(cells);
  for (const { ranked, ranges } of matching) {
    const rule = ruleIdentifier(ranked);
    const { action } = ranked.rule;
    for (const [first, last] of ranges) {
      const [from, to] = [cellAt.get(first) ?? 0, cellAt.get(last) ?? cells];
      if (action === "log")
        for (let cell = unlogged.next(from); cell < to; cell = unlogged.next(cell)) {
          if (verdicts[cell] === undefined) logged[cell] = rule;
          unlogged.take(cell);
        }
      else
        for (let cell = open.next(from); cell < to; cell = open.next(cell)) {
          verdicts[cell] = { isAllowed: action === "allow", rule };
          open.take(cell);
        }
    }
  }
  return Array.from({ length: cells }, (_, cell) => ({
    start: starts[cell] ?? 0,
    end: starts[cell + 1] ?? end,
    verdict: { ...(verdicts[cell] ?? base), logged: logged[cell] ?? 0n },
  }));
}

function endOf(protocol: number | undefined): number {
  if (protocol === undefined) return 1;
  return hasPorts(protocol) ? portEnd : hasTypes(protocol) ? typeEnd : 1;
}

/** Those ports that a rule means, each range with one more than its last; none: it is not about the protocol. */
function rangesOf(ports: readonly PolicyPort[], protocol: number | undefined): [first: number, end: number][] {
  const end = endOf(protocol);
  if (ports.length === 0) return [[0, end]];
  return ports
    .filter((each) => protocolNumber(each.protocol) === protocol)
    .flatMap((each): [number, number][] => {
      if (each.ports.length > 0)
        return each.ports.map((text) => {
          const [first, last] = portRange(text);
          return [first, last + 1];
        });
      return each.types.length > 0 ? each.types.map((type) => [type, type + 1]) : [[0, end]];
    });
}

/** Cells in a row, of which those that were taken are passed over. */
class Cells {
  /** The next cell that may be free. */
  readonly #next: number[];

  constructor(count: number) {
    this.#next = Array.from({ length: count + 1 }, (_, cell) => cell);
  }

  /** The first that is free, from this one on; their number: none is. */
  next(from: number): number {
    let found = from;
    while (this.#next[found] !== found) found = this.#next[found] ?? found;
    for (let cell = from; this.#next[cell] !== found; ) {
      const after = this.#next[cell] ?? found;
      this.#next[cell] = found;
      cell = after;
    }
    return found;
  }

  take(cell: number): void {
    this.#next[cell] = cell + 1;
  }
}

function merged(spans: readonly Span[]): Span[] {
  const result: Span[] = [];
  for (const span of spans) {
    const last = result.at(-1);
    if (last !== undefined && isSame(last.verdict, span.verdict))
      result[result.length - 1] = { ...last, end: span.end };
    else result.push(span);
  }
  return result;
}

function isSame(a: Verdict, b: Verdict): boolean {
  return a.isAllowed === b.isAllowed && a.rule === b.rule && a.logged === b.logged;
}

/** The fewest prefixes of 16 bits that are the span together. */
function* prefixesOf({ start, end }: Span): Generator<{ readonly port: number; readonly length: number }> {
  let port = start;
  while (port < end) {
    let size = port === 0 ? portEnd : port & -port;
    while (port + size > end) size /= 2;
    yield { port, length: portBits - Math.log2(size) };
    port += size;
  }
}
