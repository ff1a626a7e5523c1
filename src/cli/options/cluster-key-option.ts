/**
 * The option `--cluster-key` and its variable. `MARMOT_CLUSTER_KEY` holds the key itself, or, like the variables of other
 * options, the name of a file that exists.
 */
import { existsSync } from "node:fs";
import type { CliContext } from "../context.ts";
import type { OptionSpec } from "./option-value.ts";
import type { Options } from "./options.ts";
import { text } from "../verb.ts";

export const CLUSTER_KEY_OPTION: OptionSpec = {
  name: "cluster-key",
  type: "text",
  value: "FILE",
  help: "the shared secret (DIR/cluster.key)",
  example: "cluster.key",
};

export interface KeySource {
  /** null: no file is named. */
  readonly file: string | null;
  /** null: the environment holds no key. Never shown. */
  readonly text: string | null;
}

export function clusterKeySource(options: Options, context: Pick<CliContext, "environment">): KeySource {
  const given = text(options, "cluster-key");
  const isVariable = given !== null && given === context.environment.MARMOT_CLUSTER_KEY;
  if (isVariable && !existsSync(given)) return { file: null, text: given };
  return { file: given, text: null };
}
