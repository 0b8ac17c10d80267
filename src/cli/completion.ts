import type { Command } from "commander";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

/** What can be written after one command. */
interface Level {
  /** The words after `weft` that lead here: `network create`; empty for `weft` itself. */
  readonly path: string;
  /** Commands, or the values of the first argument, each with what it means. */
  readonly words: readonly { readonly word: string; readonly meaning: string }[];
  readonly options: readonly CompletedOption[];
}
interface CompletedOption {
  readonly flags: readonly string[];
  readonly meaning: string;
  readonly takesValue: boolean;
  readonly choices: readonly string[];
}

/** A completion script made of the commands as they are declared. */
export function completionScript(shell: Shell, program: Command): string {
  const levels = levelsOf(program, "");
  if (shell === "bash") return bashScript(levels);
  if (shell === "zsh") return zshScript(levels);
  return fishScript(levels);
}

function levelsOf(command: Command, path: string): Level[] {
  const level: Level = {
    path,
    words: [
      ...command.commands.map((child) => ({ word: child.name(), meaning: child.description() })),
      ...(command.registeredArguments[0]?.argChoices ?? []).map((word) => ({ word, meaning: "" })),
    ],
    options: command.options.map((option) => ({
      flags: [option.short, option.long].filter((flag) => flag !== undefined),
      meaning: option.description,
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
    })),
  };
  return [level, ...command.commands.flatMap((child) => levelsOf(child, `${path} ${child.name()}`.trim()))];
}

/** Shell code that follows the words up to the cursor down the tree of commands; `path` then names the level. */
function walk(levels: readonly Level[], indent: string): string {
  const paths = levels.filter((level) => level.path !== "").map((level) => `"${level.path}"`);
  return `${indent}case "\${path:+$path }$word" in\n${indent}  ${paths.join("|")}) path="\${path:+$path }$word" ;;\n${indent}esac`;
}

function valueCases(level: Level, line: (choices: string) => string, files: string): string[] {
  return level.options
    .filter((option) => option.takesValue)
    .map((option) => {
      const action = option.choices.length > 0 ? line(option.choices.join(" ")) : files;
      return `"${level.path}:${option.flags.join(`"|"${level.path}:`)}") ${action}; return ;;`;
    });
}

function bashScript(levels: readonly Level[]): string {
  const values = levels.flatMap((level) =>
    valueCases(
      level,
      (choices) => `mapfile -t COMPREPLY < <(compgen -W "${choices}" -- "$current")`,
      "compopt -o default 2>/dev/null",
    ),
  );
  const words = levels.map(
    (level) =>
      `"${level.path}") words="${[...level.words.map(({ word }) => word), ...level.options.flatMap(({ flags }) => flags), "--help"].join(" ")}" ;;`,
  );
  return `# bash completion of weft; made by: weft completion bash
_weft() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path="" words="" word
  COMPREPLY=()
  for word in "\${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
${walk(levels, "    ")}
  done
  case "$path:$previous" in
    ${values.join("\n    ")}
  esac
  case "$path" in
    ${words.join("\n    ")}
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _weft weft
`;
}

function zshScript(levels: readonly Level[]): string {
  const values = levels.flatMap((level) => valueCases(level, (choices) => `compadd -- ${choices}`, "_files"));
  const words = levels.map((level) => {
    const described = [
      ...level.words,
      ...level.options.flatMap(({ flags, meaning }) => flags.map((word) => ({ word, meaning }))),
      { word: "--help", meaning: "show help" },
    ].map(({ word, meaning }) => quote(`${word}:${meaning}`));
    return `"${level.path}") words_here=(${described.join(" ")}) ;;`;
  });
  return `#compdef weft
# zsh completion of weft; made by: weft completion zsh
_weft() {
  local current_path="" word previous=\${words[CURRENT-1]}
  local -a words_here
  for word in \${words[2,CURRENT-1]}; do
${walk(levels, "    ").replaceAll("$path", "$current_path").replaceAll("{path:+", "{current_path:+").replaceAll("path=", "current_path=")}
  done
  case "$current_path:$previous" in
    ${values.join("\n    ")}
  esac
  case "$current_path" in
    ${words.join("\n    ")}
  esac
  _describe weft words_here
}
if [ "$funcstack[1]" = "_weft" ]; then
  _weft "$@"
else
  compdef _weft weft
fi
`;
}

function fishScript(levels: readonly Level[]): string {
  const paths = levels.filter((level) => level.path !== "").map((level) => quote(level.path));
  const lines = levels.flatMap((level) => {
    const start = `complete -c weft -n ${quote(`test (__weft_path) = ${quote(level.path)}`)}`;
    return [
      ...level.words.map(({ word, meaning }) => `${start} -f -a ${word} -d ${quote(meaning)}`),
      ...level.options.map(({ flags, meaning, takesValue, choices }) => {
        const names = flags.map((flag) => (flag.startsWith("--") ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`));
        const value = choices.length > 0 ? ` -x -a ${quote(choices.join(" "))}` : takesValue ? " -r" : "";
        return `${start} ${names.join(" ")}${value} -d ${quote(meaning)}`;
      }),
    ];
  });
  return `# fish completion of weft; made by: weft completion fish
function __weft_path
    set -l path ""
    for word in (commandline -opc)[2..-1]
        set -l longer (string trim -- "$path $word")
        contains -- $longer ${paths.join(" ")}; and set path $longer
    end
    echo "$path"
end
${lines.join("\n")}
`;
}

/** A word in single quotes as zsh and bash read it, and fish as well: none of the texts ends with a backslash. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
