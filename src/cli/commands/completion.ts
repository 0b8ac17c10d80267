import { Argument, type Command } from "commander";
import { completionScript, type Shell, shells } from "../completion.ts";
import { examples } from "../options.ts";

export function registerCompletion(program: Command): void {
  const command = program
    .command("completion")
    .description("print a script that completes weft's command line in a shell")
    .addArgument(new Argument("<shell>", "which shell").choices(shells))
    .action((shell: Shell) => {
      process.stdout.write(completionScript(shell, program));
    });
  examples(
    command,
    "weft completion bash > /etc/bash_completion.d/weft",
    "weft completion zsh > /usr/local/share/zsh/site-functions/_weft",
    "weft completion fish > ~/.config/fish/completions/weft.fish",
  );
}
