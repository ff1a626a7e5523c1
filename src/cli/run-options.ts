/** The options of `marmot run`, and the settings made from them. */
import { parseDuration } from "../base/duration.ts";

import { foldName, isNodeName, MAX_NODE_NAME } from "../base/names.ts";
import { isLoopback, PUBLIC_PATHS, type PublicName } from "../admin/guard.ts";
import { DEFAULT_ID_BLOCK, type NodeOptions, type Role, ROLES } from "../node/options.ts";
import { isToken, TOKEN_FORM } from "./options/admin-token.ts";
import { ARCHIVE_OPTIONS, archiveSettings } from "./options/archive-options.ts";
import { HISTORY_OPTIONS, historySettings } from "./options/history-options.ts";
import { clusterKeySource, CLUSTER_KEY_OPTION } from "./options/cluster-key-option.ts";
import type { CliContext } from "./context.ts";
import { checkListen, checkPeer, checkReachable } from "./options/multiaddr.ts";
import { FOLLOWS_OPTION, REPLACE_AFTER_OPTION, replaceAfter } from "./options/voter-options.ts";
import type { OptionSpec } from "./options/option-value.ts";
import type { Options } from "./options/options.ts";
import type { Problem } from "./output/problem.ts";
import { CONFIG_OPTION, DATA_DIR_OPTION, dataDirOf, DB_OPTION, flag, list, number, text } from "./verb.ts";

const DEFAULT_LISTEN = "/ip4/0.0.0.0/tcp/8160";
const DEFAULT_ADMIN = "127.0.0.1:6010";
/** The largest id block: larger ones would use up the ids below 2^53 too fast. */
const MAX_ID_BLOCK = 1_000_000;

/** The shortest time between two passes of a scan. */
const SHORTEST_SCAN_MS = 1000;

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** `HOST:PORT`, `[V6]:PORT`; null: neither. */
function parseHostPort(given: string): HostPort | null {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):(\d{1,5})$/.exec(given);
  if (match === null || Number(match[2]) > 65_535) return null;
  return { host: match[1]!.replace(/^\[|\]$/g, ""), port: Number(match[2]) };
}

/** For verbs that read an application's schema. */
export const FUNCTIONS_OPTION: OptionSpec = {
  name: "functions",
  type: "text",
  value: "JS",
  help: "functions of the application; ",
  example: "functions.js",
};
export const LIBRARIES_OPTION: OptionSpec = {
  name: "load-extension",
  type: "list",
  value: "LIB",
  help: "libraries",
  example: "./unicode.so",
  joined: true,
};

export const RUN_OPTIONS: readonly OptionSpec[] = [
  { ...DB_OPTION, help: "the SQLite file; " },
  { ...DATA_DIR_OPTION, help: "Marmot's own (FILE.marmot)", joined: true },
  { name: "create", type: "flag", help: "make an empty FILE if none; " },
  { name: "unsafe-filesystem", type: "flag", help: "also on NFS, FUSE", joined: true },
  {
    name: "listen",
    type: "list",
    value: "ADDR,…",
    help: `peers (${DEFAULT_LISTEN}); `,
    check: checkListen,
    example: DEFAULT_LISTEN,
  },
  {
    name: "announce",
    type: "list",
    value: "ADDR,…",
    help: "behind NAT",
    joined: true,
    check: checkReachable,
    example: "/dns/node-1/tcp/8160",
  },
  {
    name: "peers",
    type: "list",
    value: "ADDR,…",
    help: "nodes to join; ",
    check: checkPeer,
    example: "/dns/node-1/tcp/8160",
  },
  {
    name: "bootstrap-expect",
    type: "number",
    value: "N",
    help: "form it when N have met",
    joined: true,
    minimum: 1,
    maximum: 64,
  },
  {
    name: "discover",
    type: "text",
    value: "mdns",
    help: "find peers; ",
    choices: ["mdns", "off"],
  },
  REPLACE_AFTER_OPTION,
  { ...CLUSTER_KEY_OPTION, help: "the shared secret (DIR/cluster.key); " },
  { name: "admit", type: "text", value: "FILE", help: "who joins", example: "admitted", joined: true },
  {
    name: "name",
    type: "text",
    value: "NAME",
    help: "this node (host name); ",
    example: "node-1",
    check: (given) => (isNodeName(given) ? null : `at most ${MAX_NODE_NAME} printable characters`),
  },
  {
    name: "role",
    type: "text",
    value: "ROLE",
    help: "voter, learner, reader",
    joined: true,
    choices: ROLES,
  },
  {
    name: "shards",
    type: "number",
    value: "N",
    help: "Raft groups, 1 to 64 (1); ",
    minimum: 1,
    maximum: 64,
  },
  {
    name: "transactions",
    type: "text",
    value: "HOW",
    help: "whole or row",
    joined: true,
    choices: ["whole", "row"],
  },
  {
    name: "merge",
    type: "list",
    value: "HOW",
    help: "row or column (T=column,…); ",
    example: "column",
    check: (given) => (/^(?:.+=)?(?:row|column)$/.test(given) ? null : "row, column or TABLE=column,…"),
  },
  {
    name: "foreign-keys",
    type: "text",
    value: "HOW",
    help: "keep or resolve",
    joined: true,
    choices: ["keep", "resolve"],
  },
  {
    name: "id-block",
    type: "list",
    value: "N",
    help: "ids a node (64; T=N,…); ",
    example: "64",
    check: (given) =>
      Number(/^(?:.+=)?(\d{1,7})$/.exec(given)?.[1] ?? Number.NaN) <= MAX_ID_BLOCK
        ? null
        : `a number from 0 to ${MAX_ID_BLOCK}, or TABLE=NUMBER,…`,
  },
  FOLLOWS_OPTION,
  { name: "tables", type: "list", value: "A,B", help: "replicate these", example: "a,b" },
  { name: "exclude", type: "list", value: "C", help: ", or all but these (all)", example: "c", joined: true },
  FUNCTIONS_OPTION,
  LIBRARIES_OPTION,
  {
    name: "admin",
    type: "text",
    value: "HOST:PORT",
    help: `dashboard, API; or off (${DEFAULT_ADMIN})`,
    example: DEFAULT_ADMIN,
    check: (given) => (given === "off" || parseHostPort(given) !== null ? null : "HOST:PORT or off"),
  },
  {
    name: "admin-token",
    type: "text",
    value: "TOKEN",
    help: "needed off loopback; ",
    example: "a-long-secret",
    check: (given) => (isToken(given) ? null : TOKEN_FORM),
  },
  { name: "admin-token-file", type: "text", value: "FILE", help: "in a file", joined: true },
  {
    name: "admin-public",
    type: "list",
    value: "A,B",
    help: "health, ready, metrics; ",
    example: "health,ready",
    check: (given) => (Object.hasOwn(PUBLIC_PATHS, given) ? null : "health, ready or metrics"),
  },
  { name: "group", type: "text", value: "NAME", help: "who may use it", example: "app", joined: true },
  {
    name: "log-level",
    type: "text",
    value: "LEVEL",
    help: "debug, info, warn, error; ",
    choices: ["debug", "info", "warn", "error"],
    example: "info",
  },
  {
    name: "log-format",
    type: "text",
    value: "FORM",
    help: "text, json",
    joined: true,
    choices: ["text", "json"],
  },
  ...HISTORY_OPTIONS,
  ...ARCHIVE_OPTIONS,
  CONFIG_OPTION,
  {
    name: "scan",
    type: "list",
    value: "T=TIME,…",
    help: "; look for unseen rows",
    joined: true,
    example: "files=1m",
    check: (given) =>
      (parseDuration(/^.+=([^=]+)$/.exec(given)?.[1] ?? "") ?? 0) >= SHORTEST_SCAN_MS
        ? null
        : "TABLE=TIME,… with at least 1s",
  },
];

export interface RunSettings {
  readonly node: NodeOptions;
  /** null: off. */
  readonly admin: HostPort | null;
  readonly token: string | null;
  readonly tokenFile: string | null;
  /** Readable without the token. */
  readonly open: readonly PublicName[];
}

/** Each option given is valid; missing ones get their defaults. */
export function runSettings(
  options: Options,
  context: Pick<CliContext, "environment" | "hostName">,
): RunSettings {
  const admin = text(options, "admin") ?? DEFAULT_ADMIN;
  const key = clusterKeySource(options, context);
  return {
    admin: admin === "off" ? null : parseHostPort(admin),
    token: text(options, "admin-token"),
    tokenFile: text(options, "admin-token-file"),
    open: (list(options, "admin-public") ?? []) as PublicName[],
    node: {
      db: text(options, "db") ?? "",
      dataDir: dataDirOf(options),
      listen: list(options, "listen") ?? [DEFAULT_LISTEN],
      announce: list(options, "announce") ?? [],
      peers: list(options, "peers") ?? [],
      mdns: text(options, "discover") === "mdns",
      group: text(options, "group"),
      bootstrapExpect: number(options, "bootstrap-expect"),
      name: text(options, "name"),
      hostName: context.hostName,
      role: text(options, "role") as Role | null,
      admit: text(options, "admit"),
      leaderFollowsWriter: text(options, "leader-follows-writer") !== "off",
      replaceAfterMs: replaceAfter(text(options, "replace-after") ?? "10m") ?? 0,
      create: flag(options, "create"),
      unsafeFileSystem: flag(options, "unsafe-filesystem"),
      clusterKeyText: key.text,
      clusterKeyFile: key.file,
      shards: number(options, "shards"),
      transactions: text(options, "transactions") as "whole" | "row" | null,
      merge: perTable(options, "merge", "row", (word) => word as "row" | "column"),
      foreignKeys: text(options, "foreign-keys") as "keep" | "resolve" | null,
      idBlock: perTable(options, "id-block", DEFAULT_ID_BLOCK, Number),
      tables: list(options, "tables"),
      exclude: list(options, "exclude"),
      functions: text(options, "functions"),
      libraries: list(options, "load-extension") ?? [],
      scan: scanIntervals(options),
      ...historySettings(options),
      ...archiveSettings(options),
    },
  };
}

/** `64`, `orders=16`, or both; null: not given. */
function perTable<T extends string | number>(
  options: Options,
  name: string,
  usual: T,
  of: (word: string) => T,
): { readonly usual: T; readonly tables: Readonly<Record<string, T>> } | null {
  const given = list(options, name);
  if (given === null) return null;
  let forOthers = usual;
  const tables: Record<string, T> = {};
  for (const item of given) {
    const equals = item.lastIndexOf("=");
    if (equals === -1) forOthers = of(item);
    else tables[foldName(item.slice(0, equals).trim())] = of(item.slice(equals + 1));
  }
  return { usual: forOthers, tables };
}

/** Table in lower case ⇒ milliseconds. */
function scanIntervals(options: Options): Readonly<Record<string, number>> {
  return Object.fromEntries(
    (list(options, "scan") ?? []).map((item) => {
      const equals = item.lastIndexOf("=");
      return [foldName(item.slice(0, equals).trim()), parseDuration(item.slice(equals + 1)) ?? 0];
    }),
  );
}

/** Options that set two values for one table, or for all other tables. */
export function doubled(options: Options): readonly Problem[] {
  return ["merge", "id-block", "scan"].flatMap((name) => {
    const whom = (list(options, name) ?? []).map((item) => {
      const equals = item.lastIndexOf("=");
      return equals === -1 ? "" : foldName(item.slice(0, equals).trim());
    });
    const twice = whom.find((table, i) => whom.indexOf(table) !== i);
    if (twice === undefined) return [];
    const target = twice === "" ? "all other tables" : `the table ${twice}`;
    return [{ message: `--${name} sets two values for ${target}`, hint: "leave one of them out" }];
  });
}

/** Options that contradict each other. */
export function contradictions({ node, admin, token, tokenFile }: RunSettings): readonly Problem[] {
  const problems: Problem[] = [];
  if (token !== null && tokenFile !== null)
    problems.push({
      message: "--admin-token and --admin-token-file both give a token",
      hint: "leave one of them out",
    });
  if (admin !== null && token === null && tokenFile === null && !isLoopback(admin.host))
    problems.push({
      message: `--admin ${admin.host}:${admin.port} is not a loopback address, and without --admin-token any host could use it`,
      hint: "also give --admin-token-file FILE (or --admin-token TOKEN, MARMOT_ADMIN_TOKEN), or use --admin 127.0.0.1:6010",
    });
  const lower = new Set((node.exclude ?? []).map(foldName));
  const both = (node.tables ?? []).filter((t) => lower.has(foldName(t)));
  if (both.length > 0)
    problems.push({
      message: `--tables and --exclude both name ${both.join(", ")}`,
      hint: "remove it from one of the two",
    });
  return [...problems, ...nodeContradictions(node)];
}

function nodeContradictions(node: NodeOptions): readonly Problem[] {
  const problems: Problem[] = [];
  const { bootstrapExpect: expect } = node;
  if (expect !== null && expect > 1 && node.peers.length === 0 && !node.mdns)
    problems.push({
      message: `--bootstrap-expect ${expect} waits for other nodes, but no address leads to them`,
      hint: "give --peers with the addresses of the others, or --discover mdns",
    });
  if (node.create && node.peers.length > 0 && expect === null)
    problems.push({
      message: "--create makes the file of a new cluster, but --peers joins a cluster and receives its file",
      hint: "give only one of the two",
    });
  return problems;
}
