/** `marmot key`: the cluster's secret and this node's identity. */
import type { CliContext } from "../context.ts";
import { dataDirOf } from "../client.ts";
import { type Options, usage } from "../options.ts";
import { CONFIG_OPTION, DATA_DIR_OPTION, DB_OPTION, text, type Verb } from "../verb.ts";

async function run(options: Options, words: readonly string[], context: CliContext): Promise<number> {
  const keys = await import("../../node/keys.ts");
  const file = text(options, "cluster-key");
  switch (words[0]) {
    case "generate":
      if (file === null) context.print(keys.generateClusterKey());
      else {
        keys.createClusterKey(file);
        context.print(`wrote ${file}`);
      }
      return 0;
    case "show": {
      const path = file ?? keys.defaultClusterKeyFile(dataDirOf(options));
      keys.readClusterKeys(path);
      context.print(context.readFile(path).trimEnd());
      return 0;
    }
    case "id":
      context.print(await keys.readPeerId(dataDirOf(options)));
      return 0;
    default:
      throw usage(["key takes generate, show or id"]);
  }
}

export const keyVerb: Verb = {
  name: "key",
  summary:
    "generate: makes a cluster key (to standard output, or into --cluster-key FILE).\nshow: prints the cluster key. id: prints this node's peer id.",
  usage: "key generate|show|id [options]",
  words: 1,
  options: [
    { name: "cluster-key", type: "text", value: "FILE", help: "the key file" },
    DB_OPTION,
    DATA_DIR_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot key generate --cluster-key cluster.key",
  run,
};
