/** A verb: its options, its help, and what it does. One file each. */
import type { CliContext } from "./context.ts";
import type { OptionSpec, Options } from "./options.ts";

export interface Verb {
  readonly name: string;
  /** One line for the list of verbs. */
  readonly summary: string;
  /** How it is called. */
  readonly usage: string;
  readonly options: readonly OptionSpec[];
  /** Words beside options that it takes at most. */
  readonly words?: number;
  readonly example: string;
  /** Returns the exit code: 0 done, 1 failed. Throws `UsageError` (2) and `UserError` (1). */
  run(options: Options, words: readonly string[], context: CliContext): Promise<number>;
}

export const DB_OPTION: OptionSpec = {
  name: "db",
  type: "text",
  value: "FILE",
  help: "the application's SQLite file",
};
export const DATA_DIR_OPTION: OptionSpec = {
  name: "data-dir",
  type: "text",
  value: "DIR",
  help: "Marmot's own files (default: FILE.marmot)",
};
export const CONFIG_OPTION: OptionSpec = {
  name: "config",
  type: "text",
  value: "FILE",
  help: "a TOML file with options",
};
export const JSON_OPTION: OptionSpec = {
  name: "json",
  type: "flag",
  help: "one JSON document on standard output",
};

export const text = (options: Options, name: string): string | null =>
  (options[name] as string | undefined) ?? null;
export const list = (options: Options, name: string): readonly string[] | null =>
  (options[name] as readonly string[] | undefined) ?? null;
export const number = (options: Options, name: string): number | null =>
  (options[name] as number | undefined) ?? null;
export const flag = (options: Options, name: string): boolean => options[name] === true;

const WIDTH = 80;

/** Fits a screen of 24 × 80 where it can, and ends with an example. */
export function help(verb: Verb): string {
  const names = verb.options.map((o) => `--${o.name}${o.type === "flag" ? "" : ` ${o.value ?? "VALUE"}`}`);
  const width = Math.min(28, Math.max(0, ...names.map((n) => n.length)) + 2);
  const lines = verb.options.map((o, i) => {
    const name = names[i]!;
    const head = `  ${name.padEnd(width)}`;
    return head.length + o.help.length <= WIDTH ? head + o.help : `${head}${o.help}`;
  });
  return [`marmot ${verb.usage}`, verb.summary, "", ...lines, "", `Example: ${verb.example}`].join("\n");
}
