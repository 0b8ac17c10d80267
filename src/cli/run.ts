import { type Command, CommanderError } from "commander";
import { exitStatus, explain, UsageError } from "./errors.ts";
import { createProgram } from "./program.ts";
import { printError } from "./terminal.ts";

/** Runs one command line, `words` being what follows `weft`; errors go to standard error, the exit status to the process. */
export async function run(words: readonly string[]): Promise<void> {
  const program = createProgram();
  try {
    await program.parseAsync(words, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === exitStatus.done) return;
    if (error instanceof CommanderError && error.code === "commander.help") {
      // A command is missing; commander has printed the help that lists them on standard error.
      process.exitCode = exitStatus.usage;
      return;
    }
    const { text, status } = explain(error instanceof CommanderError ? wrongUsage(program, words, error) : error);
    printError(text);
    process.exitCode = status;
  }
}

function wrongUsage(program: Command, words: readonly string[], error: CommanderError): UsageError {
  const path = commandOf(program, words);
  const hint = [program.name(), ...path, "--help"].join(" ");
  const command = path.length === 0 ? "read the command line" : path.join(" ");
  const reason = error.message.replace(/^error: /, "").replace(/\n/g, " ");
  return new UsageError(command, reason, hint);
}

/** The command that the words name, as far as they name one: `network`, `create`. */
function commandOf(program: Command, words: readonly string[]): string[] {
  let command = program;
  const path: string[] = [];
  for (const word of words) {
    const child = command.commands.find((candidate) => candidate.name() === word);
    if (child === undefined) break;
    command = child;
    path.push(word);
  }
  return path;
}
