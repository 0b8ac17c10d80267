import { type Surface, surfaceOf } from "./table.ts";
import { print } from "./terminal.ts";

export const outputFormats = ["table", "json", "yaml"] as const;
export type OutputFormat = (typeof outputFormats)[number];

/** Prints `value` in the wanted form. `table` makes the form for people. */
export async function show(format: OutputFormat, value: unknown, table: (surface: Surface) => string): Promise<void> {
  if (format === "table") print(table(outputSurface()));
  else if (format === "json") process.stdout.write(`${toJson(value, 2)}\n`);
  else process.stdout.write(await toYaml(value));
}

/** Prints one of a series without an end: JSON on one line each, YAML as a document each. */
export async function showNext(
  format: OutputFormat,
  value: unknown,
  line: (surface: Surface) => string,
): Promise<void> {
  if (format === "table") print(line(outputSurface()));
  else if (format === "json") process.stdout.write(`${toJson(value)}\n`);
  else process.stdout.write(`---\n${await toYaml(value)}`);
}

function outputSurface(): Surface {
  return surfaceOf(process.stdout, process.env);
}

/** As JSON.stringify, which leaves DEL and the C1 control characters as they are. */
function toJson(value: unknown, indent?: number): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[\u007f-\u009f]/g,
    (control) => `\\u00${control.charCodeAt(0).toString(16)}`,
  );
}

async function toYaml(value: unknown): Promise<string> {
  const { stringify } = await import("yaml");
  return stringify(value, { aliasDuplicateObjects: false, lineWidth: 0 });
}

/** An answer of the API with its messages as plain objects: no type names, and whole numbers as numbers. */
export type Plain<Message> = Message extends bigint
  ? number | string
  : Message extends readonly (infer Item)[]
    ? Plain<Item>[]
    : Message extends object
      ? { [Key in Exclude<keyof Message, "$typeName" | "$unknown">]: Plain<Message[Key]> }
      : Message;

/** A 64-bit number that a JSON number cannot hold exactly stays text. */
export function plain<Message>(message: Message): Plain<Message> {
  return strip(message) as Plain<Message>;
}

function strip(value: unknown): unknown {
  if (typeof value === "bigint") return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value);
  if (Array.isArray(value)) return value.map(strip);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key]) => key !== "$typeName" && key !== "$unknown");
  return Object.fromEntries(entries.map(([key, field]) => [key, strip(field)]));
}

/** A moment as RFC 3339 in UTC; undefined for 0, which means never. */
export function instant(milliseconds: bigint): string | undefined {
  return milliseconds === 0n ? undefined : new Date(Number(milliseconds)).toISOString();
}
