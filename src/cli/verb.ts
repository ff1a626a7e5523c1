/** A verb of the command: its options, its help and its function. Each verb has a file. */
import type { CliContext } from "./context.ts";
import type { OptionSpec } from "./options/option-value.ts";
import type { Options } from "./options/options.ts";
import type { Problem } from "./output/problem.ts";

/** Options that belong together. An option in no group is shown under "Other". */
export interface OptionGroup {
  readonly title: string;
  /** A sentence in the place of the title. */
  readonly note?: string;
  readonly options: readonly string[];
}

export interface Verb {
  readonly name: string;
  /** One line, also shown in the list of verbs. */
  readonly summary: string;
  /** More help, in a few lines. */
  readonly details?: readonly string[];
  /** The form of a call. */
  readonly usage: string;
  readonly options: readonly OptionSpec[];
  /** Options of another verb, which this one takes as well. The help only names that verb. */
  readonly also?: readonly OptionSpec[];
  /** For a verb with more options than a screen has lines: its help shows their names in groups. */
  readonly groups?: readonly OptionGroup[];
  /** The largest number of words beside options. */
  readonly words?: number;
  /** The first of these words, for completions. */
  readonly actions?: readonly string[];
  readonly example: string;
  /** Problems of the call: options that contradict each other or are missing. Gets only the valid options. Exit code 2. */
  check?(options: Options, words: readonly string[], context: CliContext): readonly Problem[];
  /** Problems of the files, ports and keys that the options name. Writes nothing. Exit code 1. */
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
/** For verbs that talk to a node. */
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

/** The folder of the node's files. One of the two options was given. */
export function dataDirOf(options: Options): string {
  return text(options, "data-dir") ?? `${text(options, "db") ?? ""}.marmot`;
}

/** The options name a node. */
export const hasNode = (options: Options): boolean =>
  text(options, "db") !== null || text(options, "data-dir") !== null;
