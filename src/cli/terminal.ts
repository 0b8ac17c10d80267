/** Characters that move the cursor, start escape sequences, or turn the direction of writing: C0 and C1 (ISO 6429), and Unicode's bidirectional controls and separators (UAX #9). */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const controls = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
/** The colours of `table.ts`, which are in text that is otherwise as people may see it. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: as above
const colour = /^\u001b\[(?:[02]|3[123])m/;

/** One word or sentence of somebody else's, on one line, with what would disturb the terminal made visible. */
export function printable(text: string): string {
  return text.replace(controls, "\ufffd");
}

/** Errors, which have lines and no colours. */
export function printableError(text: string): string {
  return text.replace(controls, (control) => (control === "\n" ? control : "\ufffd"));
}

/** Whole lines for people: beside their ends and weft's own colours nothing in them controls the terminal. */
export function printableLines(text: string): string {
  return text.replace(controls, (control, position: number) =>
    control === "\n" || (control === "\u001b" && colour.test(text.slice(position, position + 5))) ? control : "\ufffd",
  );
}

/** All that weft prints for people goes through here. */
export function print(text: string): void {
  process.stdout.write(printableLines(text));
}

export function printError(text: string): void {
  process.stderr.write(printableError(text));
}
