/**
 * Makes the pictures of terminals in docs/images from what commands print in a lab of their own: `scripts/node.sh scripts/pictures.ts`.
 * Takes root, and half a minute.
 */
import { writeFileSync } from "node:fs";
import { breakLab, mendLab } from "../src/lab/faults/index.ts";
import { Lab } from "../src/lab/lab.ts";
import { runProgram, weftProgram } from "../src/lab/process.ts";
import { setScene } from "../src/lab/scenario.ts";

/** Columns and lines beyond which a picture is cut. */
const columns = 132;
const lines = 40;
/** Pixels of a character cell at the size of the font. */
const cell = { width: 8.43, height: 19, font: 14 } as const;
const margin = 16;
/** Words in whose colour a line begins, as the command line has it on a terminal. */
const tones: readonly (readonly [word: RegExp, colour: string])[] = [
  [/^(error|✗|stops)\b/, "#ff7b72"],
  [/^(warning)\b/, "#d29922"],
  [/^(fixed|✔|passes)\b/, "#3fb950"],
];

const lab = await Lab.up({ name: `p${process.pid}` });
try {
  await setScene(lab, () => {});
  await breakLab(lab, "tunnel-port-dropped");
  await picture("doctor", "h2", ["weft", "doctor"]);
  await picture("trace", "h1", ["weft", "trace", "blue-net/10.0.0.1", "blue-net/10.0.0.2"]);
  await mendLab(lab);
  const pinged = run("blue1", ["ping", "-i", "0.3", "-c", "40", "10.0.0.2"]);
  await picture("capture", "h1", ["weft", "capture", "--network", "blue-net", "--count", "12"]);
  await pinged;
} finally {
  await lab.down();
}

async function run(place: string, words: readonly string[]): Promise<string> {
  using namespace = lab.namespace(place);
  const [program = "", ...rest] = words;
  const isWeft = program === "weft";
  const agent = isWeft ? ["--agent", lab.agentSocket(place)] : [];
  const { output, complaints } = await runProgram(namespace, isWeft ? weftProgram : program, [...rest, ...agent]);
  return `${output}${output === "" ? complaints : ""}`;
}

async function picture(name: string, place: string, words: readonly string[]): Promise<void> {
  const output = (await run(place, words)).replaceAll(lab.names.lab, "lab").trimEnd();
  const shown = [`${place}# ${words.join(" ")}`, ...output.split("\n")].slice(0, lines);
  writeFileSync(new URL(`../docs/images/${name}.svg`, import.meta.url), terminal(shown));
}

/** A terminal's window with these lines. */
function terminal(shown: readonly string[]): string {
  const cut = shown.map((line) => (line.length > columns ? `${line.slice(0, columns - 1)}…` : line));
  const width = Math.ceil(Math.max(...cut.map((line) => line.length)) * cell.width + 2 * margin);
  const height = cut.length * cell.height + 2 * margin;
  const rows = cut.map((line, index) => {
    const colour = tones.find(([word]) => word.test(line.trimStart()))?.[1] ?? (index === 0 ? "#79c0ff" : "#c9d1d9");
    const y = margin + (index + 0.75) * cell.height;
    return `<text x="${margin}" y="${y}" fill="${colour}" xml:space="preserve">${escaped(line)}</text>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img">`,
    `<title>${escaped(cut[0] ?? "")}</title>`,
    `<rect width="100%" height="100%" rx="8" fill="#0d1117"/>`,
    `<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="${cell.font}">`,
    ...rows,
    "</g></svg>",
    "",
  ].join("\n");
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
