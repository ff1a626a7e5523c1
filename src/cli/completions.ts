/** Completion scripts for bash, zsh and fish, from the table of verbs. */
import { aboutOf } from "./help.ts";
import type { OptionSpec } from "./options/option-value.ts";
import type { Verb } from "./verb.ts";

export const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof SHELLS)[number];

/** Options whose value is a file or a folder. */
const isPath = ({ value }: OptionSpec): boolean => ["FILE", "DIR", "JS", "LIB"].includes(value ?? "");
const takesFile = (verb: Verb): boolean =>
  (verb.words ?? 0) === 0 && verb.options.some((o) => o.name === "db");

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

export function completions(shell: Shell, verbs: readonly Verb[]): string {
  if (shell === "bash") return bash(verbs);
  return shell === "zsh" ? zsh(verbs) : fish(verbs);
}

function bash(verbs: readonly Verb[]): string {
  const cases = verbs.map((verb) => {
    const flags = verb.options.map((o) => `--${o.name}`).join(" ");
    const words = [...(verb.actions ?? []), flags].join(" ");
    return `    ${verb.name}) words=${quoted(words)};${takesFile(verb) ? " files=1;" : ""} ;;`;
  });
  const byChoice = new Map(
    verbs.flatMap((v) => v.options.filter((o) => o.choices !== undefined).map((o) => [o.name, o.choices!])),
  );
  const choices = [...byChoice].map(
    ([name, list]) =>
      `    --${name}) COMPREPLY=($(compgen -W ${quoted(list.join(" "))} -- "$word")); return ;;`,
  );
  const paths = new Set(verbs.flatMap((v) => v.options.filter(isPath).map((o) => `--${o.name}`)));
  return `# bash completion of marmot: source <(marmot completions bash)
_marmot() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" words="" files=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W ${quoted([...verbs.map((v) => v.name), "help"].join(" "))} -- "$word"))
    return
  fi
  case "$before" in
    ${[...paths].join("|")}) COMPREPLY=($(compgen -f -- "$word")); return ;;
${choices.join("\n")}
    help) COMPREPLY=($(compgen -W ${quoted(verbs.map((v) => v.name).join(" "))} -- "$word")); return ;;
  esac
  case "\${COMP_WORDS[1]}" in
${cases.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word"))
  if [ -n "$files" ] && [ "\${word#-}" = "$word" ]; then COMPREPLY+=($(compgen -f -- "$word")); fi
}
complete -o filenames -F _marmot marmot
`;
}

function zsh(verbs: readonly Verb[]): string {
  const describe = (name: string, about: string): string => quoted(`${name}:${about.replaceAll(":", "\\:")}`);
  const option = (o: OptionSpec): string => {
    const about = aboutOf(o).replace(/[[\]:]/g, (c) => `\\${c}`);
    const value = o.choices === undefined ? (isPath(o) ? "_files" : "") : `(${o.choices.join(" ")})`;
    const name = `${o.type === "list" ? "*" : ""}--${o.name}[${about}]`;
    return quoted(
      o.type === "flag" ? name : `${name}:${(o.value ?? "value").replaceAll(":", "\\:")}:${value}`,
    );
  };
  const cases = verbs.map((verb) => {
    const first =
      verb.actions === undefined
        ? takesFile(verb)
          ? [quoted("1:file:_files")]
          : []
        : [quoted(`1:action:(${verb.actions.join(" ")})`)];
    return `    ${verb.name}) _arguments ${[...first, ...verb.options.map(option)].join(" ")} ;;`;
  });
  return `#compdef marmot
# zsh completion of marmot: marmot completions zsh > a folder of $fpath, as _marmot
_marmot() {
  if (( CURRENT == 2 )); then
    local -a verbs=(${verbs.map((v) => describe(v.name, v.summary)).join(" ")})
    _describe verb verbs
    return
  fi
  local verb=$words[2]
  shift words
  (( CURRENT-- ))
  case $verb in
${cases.join("\n")}
  esac
}
if [ "$funcstack[1]" = "_marmot" ]; then _marmot "$@"; else compdef _marmot marmot; fi
`;
}

function fish(verbs: readonly Verb[]): string {
  const lines = verbs.flatMap((verb) => {
    const within = quoted(`__fish_seen_subcommand_from ${verb.name}`);
    const actions = (verb.actions ?? []).map((word) => `complete -c marmot -n ${within} -f -a ${word}`);
    const options = verb.options.map((o) => {
      const value =
        o.type === "flag"
          ? ""
          : o.choices === undefined
            ? isPath(o)
              ? " -r -F"
              : " -x"
            : ` -x -a ${quoted(o.choices.join(" "))}`;
      return `complete -c marmot -n ${within} -l ${o.name}${value} -d ${quoted(aboutOf(o))}`;
    });
    const files = takesFile(verb) ? [] : [`complete -c marmot -n ${within} -f`];
    return [
      `complete -c marmot -n __fish_use_subcommand -f -a ${verb.name} -d ${quoted(verb.summary)}`,
      ...files,
      ...actions,
      ...options,
    ];
  });
  return `# fish completion of marmot: marmot completions fish | source\n${lines.join("\n")}\n`;
}
