/** Colours on a terminal: by `--color auto|always|never`, or NO_COLOR (https://no-color.org). */
import type { Level } from "../../operations/api.ts";
import { usage } from "./problem.ts";

export const COLOR_CHOICES = ["auto", "always", "never"] as const;
type Choice = (typeof COLOR_CHOICES)[number];

/** Whether to use colours on standard output and on standard error. */
export interface Colors {
  readonly out: boolean;
  readonly err: boolean;
}

const CODES = { ok: 32, warn: 33, bad: 31, dim: 2, bold: 1 } as const;
export type Paint = (style: Level | "dim" | "bold", text: string) => string;

export const painter =
  (isOn: boolean): Paint =>
  (style, text) =>
    isOn ? `\u001b[${CODES[style]}m${text}\u001b[0m` : text;

const OWN_CODES = new RegExp(`(\u001b\\[(?:0|${Object.values(CODES).join("|")})m)`);

/** Changes a text, but not the codes of colours in it, if there may be some. */
export const beside = (text: string, isOn: boolean, change: (text: string) => string): string =>
  isOn
    ? text
        .split(OWN_CODES)
        .map((part, i) => (i % 2 === 1 ? part : change(part)))
        .join("")
    : change(text);

/** Takes `--color WHEN` out of the arguments: it means the same for each verb. `terminals`: which of the two are ones. */
export function takeColor(
  given: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
  terminals: Colors,
): { readonly argv: readonly string[]; readonly colors: Colors } {
  const argv = [...given];
  let choice = environment.MARMOT_COLOR || (environment.NO_COLOR ? "never" : "auto");
  const end = argv.indexOf("--");
  const at = argv.findIndex((word, i) => /^--?color(?:=|$)/.test(word) && (end === -1 || i < end));
  if (at !== -1) {
    const [, inline] = argv[at]!.split("=", 2);
    const value = inline ?? argv[at + 1];
    argv.splice(at, inline === undefined ? 2 : 1);
    choice = value ?? "";
  }
  if (!COLOR_CHOICES.includes(choice as Choice))
    throw usage([
      {
        message: `--color should be ${COLOR_CHOICES.join(", ")}, not ${choice || "nothing"}`,
        hint: "for example --color never; or leave it out",
      },
    ]);
  if (choice === "auto") return { argv, colors: terminals };
  return { argv, colors: { out: choice === "always", err: choice === "always" } };
}
