import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { type Column, renderFields, renderTable, surfaceOf } from "./table.ts";

interface Row {
  readonly name: string;
  readonly vni: number;
  readonly state: string;
  readonly reason?: string;
}
const columns: readonly Column<Row>[] = [
  { header: "name", value: (row) => row.name },
  { header: "vni", value: (row) => row.vni },
  { header: "state", value: (row) => row.state, isState: true },
  { header: "reason", value: (row) => row.reason },
];
const rows: readonly Row[] = [
  { name: "web", vni: 7, state: "done" },
  { name: "database", vni: 16777215, state: "failed", reason: "create link vx16777215: file exists" },
];

test("columns are aligned, numbers to the right, and no line ends in blanks", () => {
  assert.equal(
    renderTable(columns, rows, { colour: false }),
    [
      "NAME           VNI  STATE   REASON",
      "web              7  done",
      "database  16777215  failed  create link vx16777215: file exists",
      "",
    ].join("\n"),
  );
});

test("without rows there are headers only", () => {
  assert.equal(renderTable(columns, [], { colour: false }), "NAME  VNI  STATE  REASON\n");
});

test("on a narrow terminal the last columns lose their ends", () => {
  const text = renderTable(columns, rows, { colour: false, width: 45 });
  assert.equal(text.split("\n")[2], "database  16777215  failed  create link vx16…");
  assert.ok(text.split("\n").every((line) => line.length <= 45));
});

test("the first column stays whole however narrow the terminal is", () => {
  assert.match(renderTable(columns, rows, { colour: false, width: 10 }), /^database /m);
});

test("colour marks headers and states, and does not disturb the columns", () => {
  const plain = renderTable(columns, rows, { colour: false });
  const coloured = renderTable(columns, rows, { colour: true });
  for (const marked of ["\u001b[2mNAME\u001b[0m", "\u001b[32mdone\u001b[0m", "\u001b[31mfailed\u001b[0m"])
    assert.ok(coloured.includes(marked), marked);
  assert.equal(stripVTControlCharacters(coloured).replace(/ +$/gm, ""), plain);
});

test("control characters in a cell do not reach the terminal", () => {
  const hostile = [{ name: "a\u001b[2Jb\nc", vni: 1, state: "done" }];
  assert.equal(renderTable(columns, hostile, { colour: false }).split("\n")[1], "a\ufffd[2Jb\ufffdc    1  done");
});

test("fields: one name and value a line, lists below each other, empty ones left out", () => {
  assert.equal(
    renderFields(
      [
        ["name", "web"],
        ["mtu", 1450],
        ["subnets", ["10.0.0.0/24", "fd00::/64"]],
        ["gateways", []],
        ["error", ""],
      ],
      { colour: false },
    ),
    "NAME     web\nMTU      1450\nSUBNETS  10.0.0.0/24\n         fd00::/64\n",
  );
});

test("colour and width are for terminals, and NO_COLOR switches colour off", () => {
  assert.deepEqual(surfaceOf({ isTTY: true, columns: 80 }, {}), { colour: true, width: 80 });
  assert.deepEqual(surfaceOf({ isTTY: true, columns: 80 }, { NO_COLOR: "1" }), { colour: false, width: 80 });
  assert.deepEqual(surfaceOf({ isTTY: true, columns: 80 }, { TERM: "dumb" }), { colour: false, width: 80 });
  assert.deepEqual(surfaceOf({}, {}), { colour: false });
});
