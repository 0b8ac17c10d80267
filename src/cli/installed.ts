import type { Installed } from "../plugins/cni/install.ts";
import type { WithOutput } from "./options.ts";
import { show } from "./output.ts";
import { printable } from "./terminal.ts";

/** What became of the files that a command installs or takes away. */
export function showInstalled({ output }: WithOutput, files: readonly Installed[]): Promise<void> {
  return show(output, files, () =>
    files.length === 0
      ? "nothing of weft's is there\n"
      : files
          .map(({ path, done, reason }) => `${done}  ${printable(path)}${reason === undefined ? "" : `: ${reason}`}\n`)
          .join(""),
  );
}
