/** `marmot key`: the cluster key and this node's identity. */
import { clusterKeySource, CLUSTER_KEY_OPTION } from "../options/cluster-key-option.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import type { Problem } from "../output/problem.ts";
import { CONFIG_OPTION, DATA_DIR_OPTION, dataDirOf, DB_OPTION, text, type Verb } from "../verb.ts";

const hasNode = (options: Options): boolean =>
  text(options, "db") !== null || text(options, "data-dir") !== null;

function check(options: Options, [action]: readonly string[]): readonly Problem[] {
  if (action !== "generate" && action !== "show" && action !== "id")
    return [
      {
        message: `key should be followed by generate, show or id, not by ${action ?? "nothing"}`,
        hint: "for example marmot key generate --cluster-key cluster.key",
      },
    ];
  const enough =
    action === "generate" || hasNode(options) || (action === "show" && text(options, "cluster-key") !== null);
  if (enough) return [];
  return [
    {
      message: `--db FILE or --data-dir DIR is needed: ${action === "id" ? "the id of which node?" : "the key of which node?"}`,
      hint: "for example --db app.db",
    },
  ];
}

async function run(options: Options, [action]: readonly string[], context: CliContext): Promise<number> {
  const keys = await import("../../node/keys.ts");
  const source = clusterKeySource(options, context);
  if (action === "generate") {
    if (source.file === null) context.print(keys.generateClusterKey());
    else {
      keys.createClusterKey(source.file);
      context.say(`wrote ${source.file}; every node needs a copy, and it must stay secret`);
    }
  } else if (action === "show") {
    const file = source.file ?? keys.defaultClusterKeyFile(dataDirOf(options));
    const shown = source.text ?? context.readFile(file);
    keys.parseClusterKeys(shown, source.text === null ? file : "MARMOT_CLUSTER_KEY");
    context.print(shown.trimEnd());
  } else context.print(await keys.readPeerId(dataDirOf(options)));
  return 0;
}

const { required: _, ...db } = DB_OPTION;

export const keyVerb: Verb = {
  name: "key",
  summary: "Makes or prints the cluster key, or prints this node's peer id.",
  details: [
    "generate: a new key, to standard output or into --cluster-key FILE.",
    "show: the cluster key. id: this node's peer id.",
  ],
  usage: "key generate|show|id [options]",
  words: 1,
  options: [{ ...CLUSTER_KEY_OPTION, help: "file of the key" }, db, DATA_DIR_OPTION, CONFIG_OPTION],
  example: "marmot key generate --cluster-key cluster.key",
  check,
  run,
};
