import { printable } from "./terminal.ts";

/** One column of a table. */
export interface Column<Row> {
  /** Shown in upper case. */
  readonly header: string;
  /** Numbers are aligned to the right; undefined is an empty cell. */
  readonly value: (row: Row) => string | number | undefined;
  /** The cell says how something is, in a word such as `failed`: coloured by it. */
  readonly isState?: boolean;
}

/** What the place that a table is printed on can do. */
export interface Surface {
  /** Escape sequences for colour are understood and wanted. */
  readonly colour: boolean;
  /** Characters in a line; absent: no limit. */
  readonly width?: number;
}

export type Tone = "dim" | "good" | "changing" | "bad";

const codes: Readonly<Record<Tone, string>> = { dim: "2", good: "32", changing: "33", bad: "31" };

/** The states that weft speaks of. Others stay without colour. */
const tones: ReadonlyMap<string, Tone> = new Map([
  ["same", "good"],
  ["done", "good"],
  ["arrives", "good"],
  ["leaves", "good"],
  ["✓", "good"],
  ["connected", "good"],
  ["in sync", "good"],
  ["pending", "changing"],
  ["unknown", "changing"],
  ["joining", "changing"],
  ["connecting", "changing"],
  ["different", "changing"],
  ["foreign", "changing"],
  ["warning", "changing"],
  ["changed", "changing"],
  ["created", "good"],
  ["fixed", "good"],
  ["missing", "bad"],
  ["failed", "bad"],
  ["disconnected", "bad"],
  ["error", "bad"],
  ["stops", "bad"],
  ["✗", "bad"],
]);

const gap = "  ";
/** A column is not made narrower than this. */
const narrowest = 8;

/** What standard output can do: colour and a limited width on a terminal only, colour not with NO_COLOR (no-color.org). */
export function surfaceOf(
  stream: { readonly isTTY?: boolean; readonly columns?: number },
  environment: Readonly<Record<string, string | undefined>>,
): Surface {
  const isTerminal = stream.isTTY === true;
  return {
    colour: isTerminal && (environment.NO_COLOR ?? "") === "" && environment.TERM !== "dumb",
    ...(isTerminal && stream.columns ? { width: stream.columns } : {}),
  };
}

/** Aligned columns under upper-case headers, each line ended. Too wide a table loses the ends of its last columns. */
export function renderTable<Row>(columns: readonly Column<Row>[], rows: readonly Row[], surface: Surface): string {
  const cells = rows.map((row) => columns.map((column) => column.value(row)));
  const widths = columns.map((column, index) =>
    cells.reduce((widest, line) => Math.max(widest, textOf(line[index]).length), column.header.length),
  );
  if (surface.width !== undefined) fit(widths, surface.width);
  const isNumeric = columns.map((_, index) => cells.some((line) => typeof line[index] === "number"));
  const layOut = (texts: readonly string[], toneOf: (index: number) => Tone | undefined): string =>
    texts
      .map((text, index) => {
        const width = widths[index] ?? 0;
        const shown = text.length > width ? `${text.slice(0, Math.max(0, width - 1))}…` : text;
        const padding = " ".repeat(width - shown.length);
        const painted = paint(shown, toneOf(index), surface);
        if (isNumeric[index]) return padding + painted;
        return index === texts.length - 1 ? painted : painted + padding;
      })
      .join(gap)
      .trimEnd();
  const header = layOut(
    columns.map((column) => column.header.toUpperCase()),
    () => "dim",
  );
  const lines = cells.map((line) => {
    const texts = line.map(textOf);
    return layOut(texts, (index) => (columns[index]?.isState ? tones.get(texts[index] ?? "") : undefined));
  });
  return `${[header, ...lines].join("\n")}\n`;
}

/** One thing in full: a name and a value on each line. A list of values takes a line each; empty ones are left out. */
export function renderFields(
  fields: readonly (readonly [name: string, value: string | number | readonly string[] | undefined])[],
  surface: Surface,
): string {
  const present = fields.filter(([, value]) => value !== undefined && value !== "" && String(value) !== "");
  const width = Math.max(0, ...present.map(([name]) => name.length));
  const lines = present.flatMap(([name, value]) => {
    const texts = Array.isArray(value) ? value : [String(value)];
    return texts.map(textOf).map((text: string, index) => {
      const label = (index === 0 ? name.toUpperCase() : "").padEnd(width);
      return `${paint(label, "dim", surface)}${gap}${paint(text, tones.get(text), surface)}`;
    });
  });
  return lines.map((line) => `${line}\n`).join("");
}

/** A word that says how something is, such as `failed`, in its colour. */
export function paintState(word: string, surface: Surface): string {
  return paint(word, tones.get(word), surface);
}

/** Text in the colour of a tone, where there is colour. */
export function paint(text: string, tone: Tone | undefined, surface: Surface): string {
  return tone === undefined || !surface.colour || text === "" ? text : `\u001b[${codes[tone]}m${text}\u001b[0m`;
}

/** Takes from the last columns, the very last first, until the line fits or nothing is left to take. */
function fit(widths: number[], limit: number): void {
  let excess = widths.reduce((sum, width) => sum + width, gap.length * (widths.length - 1)) - limit;
  for (let index = widths.length - 1; index > 0 && excess > 0; index--) {
    const width = widths[index] ?? 0;
    const taken = Math.min(excess, Math.max(0, width - narrowest));
    widths[index] = width - taken;
    excess -= taken;
  }
}

/** The cell's text, with what would disturb the terminal made visible. */
function textOf(value: string | number | undefined): string {
  return value === undefined ? "" : printable(String(value));
}
