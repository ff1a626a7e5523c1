/**
 * Which cluster key an option or the environment names. `MARMOT_CLUSTER_KEY` holds the key itself; where it names a file,
 * it is that file, as with every other option's variable.
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
  /** null: not by a file. */
  readonly file: string | null;
  /** null: not by the environment. Never shown. */
  readonly text: string | null;
}

export function clusterKeySource(options: Options, context: Pick<CliContext, "environment">): KeySource {
  const given = text(options, "cluster-key");
  const isVariable = given !== null && given === context.environment.MARMOT_CLUSTER_KEY;
  if (isVariable && !existsSync(given)) return { file: null, text: given };
  return { file: given, text: null };
}
