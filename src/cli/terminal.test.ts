import assert from "node:assert/strict";
import { test } from "node:test";
import { renderFields, renderTable } from "./table.ts";
import { printable, printableError, printableLines } from "./terminal.ts";

const evil = "a\u001b]0;title\u0007\u001b[2J\u009b1A\r\u202eb";
const harmless = "a\ufffd]0;title\ufffd\ufffd[2J\ufffd1A\ufffd\ufffdb";

test("nothing in a word controls the terminal", () => {
  assert.equal(printable(evil), harmless);
  assert.equal(printable("x\ny\u001b[31m"), "x\ufffdy\ufffd[31m");
  assert.equal(printable("Größe 大 ✓"), "Größe 大 ✓");
});

test("lines keep their ends and weft's own colours", () => {
  assert.equal(
    printableLines(`${evil}\n\u001b[31mfailed\u001b[0m\u001b[5m\n`),
    `${harmless}\n\u001b[31mfailed\u001b[0m\ufffd[5m\n`,
  );
});

test("cells and fields hold no colours but weft's", () => {
  const surface = { colour: true };
  const word = "\u001b[31mred";
  assert.equal(renderFields([["name", word]], surface), "\u001b[2mNAME\u001b[0m  \ufffd[31mred\n");
  const table = renderTable([{ header: "name", value: () => word }], [1], surface);
  assert.match(table, /^\ufffd\[31mred$/m);
});

test("errors have lines and no colours", () =>
  assert.equal(
    printableError("weft: \u001b[31mfailed\u001b[0m\n  try: x\n"),
    "weft: \ufffd[31mfailed\ufffd[0m\n  try: x\n",
  ));
