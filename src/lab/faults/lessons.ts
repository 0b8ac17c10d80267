import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { faultNamed } from "./registry.ts";

export const languages = ["en", "zh"] as const;
export type Language = (typeof languages)[number];

/** The text about a fault, Markdown. */
export function readLesson(name: string, language: Language): string {
  faultNamed(name, `show the lesson of ${name}`);
  return readFileSync(lessonFile(name, language), "utf8");
}

export function lessonFile(name: string, language: Language): string {
  return join(documents(), "lessons", language, `${name}.md`);
}

/** The folder `docs` of the package: this program may lie in one file beside its sources' place, or in it. */
function documents(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "docs", "lessons"))) {
    const above = dirname(folder);
    if (above === folder) throw new TypeError("the package has no lessons");
    folder = above;
  }
  return join(folder, "docs");
}
