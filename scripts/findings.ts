/** Writes docs/findings.md, which explains the codes of weft doctor: `scripts/node.sh scripts/findings.ts`. A test compares the two. */
import { writeFileSync } from "node:fs";
import { findingsPage } from "../src/diagnose/findings-page.ts";

writeFileSync(new URL("../docs/findings.md", import.meta.url), findingsPage());
