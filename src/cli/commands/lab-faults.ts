import { type Command, Option } from "commander";
import { examples, outputOption, type WithOutput } from "../options.ts";
import { show } from "../output.ts";
import { requireRoot } from "../privilege.ts";
import { renderTable } from "../table.ts";
import { print } from "../terminal.ts";

interface WithName {
  readonly name: string;
}

/** Faults of real networks, for whoever learns to find them. */
export function registerFaults(lab: Command): void {
  const list = lab
    .command("list")
    .description("faults that weft lab break can make, and which the lab has now")
    .option("--name <name>", "the lab's name", "lab")
    .addOption(outputOption())
    .action(async (options: WithName & WithOutput) => {
      const { faults, unmet, readBroken } = await import("../../lab/faults/index.ts");
      const { Lab } = await import("../../lab/lab.ts");
      const broken = Lab.stands(options.name) ? readBroken(Lab.open(options.name))?.fault : undefined;
      const rows = faults.map(({ name, group, title, needs, expected }) => {
        const reason = unmet(needs);
        const state = name === broken ? "broken" : reason === undefined ? "" : "not on this machine";
        return { name, group, state, title, expected, ...(reason === undefined ? {} : { reason }) };
      });
      await show(options.output, rows, (surface) =>
        renderTable(
          [
            { header: "name", value: (row) => row.name },
            { header: "group", value: (row) => row.group },
            { header: "state", value: (row) => row.state },
            { header: "fault", value: (row) => row.title },
          ],
          rows,
          surface,
        ),
      );
    });
  examples(list, "weft lab list", "weft lab list -o json");

  const breaking = lab
    .command("break <fault>")
    .description("make a fault of real networks in the lab, one at a time")
    .option("--name <name>", "the lab's name", "lab")
    .action(async (fault: string, options: WithName) => {
      requireRoot("break a lab");
      const { breakLab } = await import("../../lab/faults/index.ts");
      const { Lab } = await import("../../lab/lab.ts");
      const { title } = await breakLab(Lab.open(options.name), fault);
      const name = options.name === "lab" ? "" : ` --name ${options.name}`;
      print(`${fault}: ${title}\n  learn: weft lab lesson ${fault}\n  mend: weft lab mend${name}\n`);
    });
  examples(breaking, "weft lab break tunnel-port-dropped", "weft lab break stale-fdb");

  const mending = lab
    .command("mend")
    .description("set back what is broken in the lab")
    .option("--name <name>", "the lab's name", "lab")
    .action(async (options: WithName) => {
      requireRoot("mend a lab");
      const { mendLab } = await import("../../lab/faults/index.ts");
      const { Lab } = await import("../../lab/lab.ts");
      const fault = await mendLab(Lab.open(options.name));
      print(fault === undefined ? `nothing is broken in lab ${options.name}\n` : `${fault.name} mended\n`);
    });
  examples(mending, "weft lab mend");

  const lesson = lab
    .command("lesson <fault>")
    .description("a fault explained: its symptom, how to find it with plain tools and with weft, and the cure")
    .addOption(new Option("--language <language>", "of the text; default: as LANG says").choices(["en", "zh"]))
    .action(async (fault: string, options: { readonly language?: "en" | "zh" }) => {
      const { readLesson } = await import("../../lab/faults/lessons.ts");
      print(readLesson(fault, options.language ?? languageOf(process.env)));
    });
  examples(lesson, "weft lab lesson stale-fdb", "weft lab lesson stale-fdb --language zh");
}

/** As gettext(3) has it: the first of these that says something decides. */
function languageOf({ LC_ALL, LC_MESSAGES, LANG }: NodeJS.ProcessEnv): "en" | "zh" {
  return (LC_ALL || LC_MESSAGES || LANG || "").startsWith("zh") ? "zh" : "en";
}
