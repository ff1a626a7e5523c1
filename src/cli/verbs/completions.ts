/** `marmot completions`: prints the completion script of a shell. */
import { completions, SHELLS, type Shell } from "../completions.ts";
import { CONFIG_OPTION, type Verb } from "../verb.ts";

const isShell = (word: string | undefined): word is Shell => SHELLS.some((shell) => shell === word);

/** `verbs`: all of them, this one included. */
export const completionsVerb = (verbs: () => readonly Verb[]): Verb => ({
  name: "completions",
  summary: "Prints the completion script of bash, zsh or fish.",
  usage: "completions bash|zsh|fish",
  words: 1,
  actions: SHELLS,
  options: [CONFIG_OPTION],
  example: "marmot completions bash",
  check: (_options, [shell]) =>
    isShell(shell)
      ? []
      : [
          {
            message: `completions should be followed by ${SHELLS.join(", ")}, not by ${shell ?? "nothing"}`,
            hint: "source <(marmot completions bash)",
          },
        ],
  run: (_options, [shell], context) => {
    context.print(completions(shell as Shell, verbs()).trimEnd());
    return Promise.resolve(0);
  },
});
