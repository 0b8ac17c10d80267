import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { it } from "node:test";
import { findingsPage } from "./findings-page.ts";

it("every code is explained in docs/findings.md, as scripts/findings.ts writes it", () => {
  assert.equal(readFileSync(new URL("../../docs/findings.md", import.meta.url), "utf8"), findingsPage());
});
