/**
 * Puts all modules of weft's programs, with the packages that they use, into a few files: they start in half the time. Native code and what
 * is read from disk stay where they are.
 *
 *     scripts/node.sh scripts/bundle.ts src/cli/main.ts FOLDER
 */
import { dirname, relative, resolve } from "node:path";
import { rolldown } from "rolldown";

const root = resolve(import.meta.dirname, "..");
const [input = "", folder = ""] = process.argv.slice(2);
if (input === "" || folder === "") {
  process.stderr.write("usage: bundle.ts MAIN FOLDER\n");
  process.exit(2);
}
const output = resolve(root, folder);

const bundle = await rolldown({
  input: resolve(root, input),
  platform: "node",
  external: ["koffi"],
  plugins: [
    {
      name: "places of files",
      /** What a module finds beside itself it finds there still. */
      transform(code: string, id: string): string | undefined {
        if (id.includes("/node_modules/") || !code.includes("import.meta")) return undefined;
        const place = JSON.stringify(relative(output, id));
        return code
          .replaceAll("import.meta.url", `new URL(${place}, import.meta.url).href`)
          .replaceAll(
            "import.meta.dirname",
            `new URL(${JSON.stringify(relative(output, dirname(id)))}, import.meta.url).pathname`,
          );
      },
    },
  ],
});
await bundle.write({ dir: output, format: "esm", chunkFileNames: "[name]-[hash].js", comments: { legal: true } });
await bundle.close();
