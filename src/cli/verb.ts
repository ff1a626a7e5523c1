/** A verb: its options, its help, and what it does. One file each. */
import type { CliContext } from "./context.ts";
import type { OptionSpec } from "./options/option-value.ts";
import type { Options } from "./options/options.ts";
import type { Problem } from "./output/problem.ts";

export interface Verb {
  readonly name: string;
  /** What it does, in a line that also stands in the list of verbs. */
  readonly summary: string;
  /** What else is worth knowing, in a few lines. */
  readonly details?: readonly string[];
  /** How it is called. */
  readonly usage: string;
  readonly options: readonly OptionSpec[];
  /** Words beside options that it takes at most. */
  readonly words?: number;
  readonly example: string;
  /** What is wrong with several options together, or missing: wrong usage. Sees only the good ones of what was given. */
  check?(options: Options, words: readonly string[], context: CliContext): readonly Problem[];
  /** What is wrong with the world that the options name: files, ports, keys. Writes nothing. */
  survey?(options: Options, context: CliContext): Promise<readonly Problem[]>;
  /** Returns the exit code: 0 done, 1 failed. Throws `UsageError` (2) and `UserError` (1). */
  run(options: Options, words: readonly string[], context: CliContext): Promise<number>;
}

export const DB_OPTION: OptionSpec = {
  name: "db",
  type: "text",
  value: "FILE",
  help: "the application's SQLite file",
  example: "app.db",
  required: true,
};
export const DATA_DIR_OPTION: OptionSpec = {
  name: "data-dir",
  type: "text",
  value: "DIR",
  help: "Marmot's own files (FILE.marmot)",
  example: "app.db.marmot",
};
/** For verbs that talk to a node, which is found by its files. */
export const NODE_OPTIONS: readonly OptionSpec[] = [{ ...DB_OPTION, required: "data-dir" }, DATA_DIR_OPTION];
export const CONFIG_OPTION: OptionSpec = {
  name: "config",
  type: "text",
  value: "FILE",
  help: "a TOML file with options",
  example: "marmot.toml",
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

/** Where the node's files are; one of the two was given. */
export function dataDirOf(options: Options): string {
  return text(options, "data-dir") ?? `${text(options, "db") ?? ""}.marmot`;
}

/** Room for the names of options in the help, in characters. */
const NAMES_WIDTH = 30;

/** Fits a screen of 24 × 80, and ends with an example. */
export function help(verb: Verb): string {
  const rows: { names: string; about: string }[] = [];
  for (const spec of verb.options) {
    const name = `--${spec.name}${spec.type === "flag" ? "" : ` ${spec.value ?? "VALUE"}`}`;
    const last = rows.at(-1);
    if (spec.joined && last !== undefined) {
      last.names += ` ${name}`;
      last.about += spec.help;
    } else rows.push({ names: name, about: spec.help });
  }
  const width = Math.min(NAMES_WIDTH, Math.max(0, ...rows.map((r) => r.names.length)) + 2);
  const lines = rows.map((r) => `  ${r.names.padEnd(width)}${r.names.length >= width ? " " : ""}${r.about}`);
  const about = [verb.summary, ...(verb.details ?? [])];
  return [`marmot ${verb.usage}`, ...about, "", ...lines, "", `Example: ${verb.example}`].join("\n");
}
