/** `marmot key`: the cluster key and this node's identity. */
import { clusterKeySource, CLUSTER_KEY_OPTION } from "../options/cluster-key-option.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import type { Problem } from "../output/problem.ts";
import type { MemberStatus, NodeStatus } from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import { commands, type Rotation, rotationOf, rotationSentence } from "../key-rotation.ts";
import { table } from "../output/table.ts";
import {
  CONFIG_OPTION,
  DATA_DIR_OPTION,
  dataDirOf,
  DB_OPTION,
  flag,
  hasNode,
  JSON_OPTION,
  text,
  type Verb,
} from "../verb.ts";

const ACTIONS: readonly string[] = ["generate", "show", "id", "rotate"];

function check(options: Options, [action]: readonly string[]): readonly Problem[] {
  if (action === undefined || !ACTIONS.includes(action))
    return [
      {
        message: `key should be followed by generate, show, id or rotate, not by ${action ?? "nothing"}`,
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

/** Of `generate`, `show` and `id`: those that the action has. */
export interface KeyDocument {
  readonly key?: string;
  /** The file that `generate` wrote. */
  readonly file?: string;
  readonly keys?: readonly string[];
  readonly fingerprints?: readonly string[];
  readonly peerId?: string;
}

/** Of `rotate`. */
export interface RotationDocument extends Rotation {
  readonly keyFile: string;
  readonly commands: { readonly add: string; readonly remove: string };
  readonly nodes: readonly Pick<MemberStatus, "name" | "keys">[];
}

/** Prints the steps of a change of the key, and the nodes that still use the old one. */
async function rotate(options: Options, context: CliContext): Promise<number> {
  const { node, members } = await new NodeClient(dataDirOf(options)).request<NodeStatus>(
    "GET",
    "/api/v1/status",
  );
  const rotation = rotationOf(members);
  const { add, remove } = commands(node.keyFile);
  if (flag(options, "json")) {
    const nodes = members.map(({ name, keys }) => ({ name, keys }));
    const document: RotationDocument = {
      ...rotation,
      ...{ keyFile: node.keyFile, commands: { add, remove }, nodes },
    };
    context.print(JSON.stringify(document));
    return 0;
  }
  const rows = members.map(({ name, keys }) => [name, keys[0] ?? "?", keys.slice(1).join(", ")]);
  const lines = [
    table(["NODE", "DIALS WITH", "ACCEPTS TOO"], rows),
    "",
    rotationSentence(rotation),
    "",
    "To change the cluster key while the nodes run (paths are those of this node):",
    "1. Once: marmot key generate --cluster-key new.key, and copy new.key to each machine.",
    "2. On each node, one after the other: put the new key above the old one, restart the node,",
    "   and wait until marmot status says ready:",
    `   ${add}`,
    "3. When step 2 is done on all nodes, on each of them: keep the new key alone, and restart:",
    `   ${remove}`,
  ];
  context.print(lines.join("\n"));
  return 0;
}

async function run(options: Options, [action]: readonly string[], context: CliContext): Promise<number> {
  if (action === "rotate") return await rotate(options, context);
  const keys = await import("../../node/keys.ts");
  const source = clusterKeySource(options, context);
  const isJson = flag(options, "json");
  const show = (plain: string, document: KeyDocument): void =>
    context.print(isJson ? JSON.stringify(document) : plain);
  if (action === "id") {
    const peerId = await keys.readPeerId(dataDirOf(options));
    show(peerId, { peerId });
  } else if (action === "generate" && source.file !== null) {
    keys.createClusterKey(source.file);
    if (isJson) show("", { file: source.file });
    context.say(`wrote ${source.file}; every node needs a copy, and it must stay secret`);
  } else if (action === "generate") {
    const key = keys.generateClusterKey();
    show(key, { key });
  } else {
    const file = source.file ?? keys.defaultClusterKeyFile(dataDirOf(options));
    const shown = (source.text ?? context.readFile(file)).trimEnd();
    const parsed = keys.parseClusterKeys(shown, source.text === null ? file : "MARMOT_CLUSTER_KEY");
    const fingerprints = parsed.map(keys.keyFingerprint);
    if (flag(options, "fingerprint")) show(fingerprints.join("\n"), { fingerprints });
    else show(shown, { keys: shown.split(/\s+/), fingerprints });
  }
  return 0;
}

const { required: _, ...db } = DB_OPTION;

export const keyVerb: Verb = {
  name: "key",
  summary: "Makes, prints and changes the cluster key; prints the peer id.",
  details: [
    "generate: a new key, to standard output or into --cluster-key FILE.",
    "show: the cluster key, or its fingerprint. id: this node's peer id.",
    "rotate: steps of a change of the key, and the nodes with the old one.",
  ],
  usage: "key generate|show|id|rotate [options]",
  words: 1,
  actions: ["generate", "show", "id", "rotate"],
  options: [
    { ...CLUSTER_KEY_OPTION, help: "file of the key" },
    db,
    DATA_DIR_OPTION,
    { name: "fingerprint", type: "flag", help: "show: what tells the key from others, not the key" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot key generate --cluster-key cluster.key",
  check,
  run,
};
