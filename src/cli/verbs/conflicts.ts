/** `marmot conflicts`: lists, shows, restores and dismisses rows that concurrent writes replaced. */
import type {
  ConflictDetail,
  ConflictSummary,
  DismissResult,
  RestoreAllResult,
  RestoreResult,
} from "../../operations/api.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import type { Options } from "../options/options.ts";
import { detailText, listText, restoredAllText, restoredText } from "../output/conflict-texts.ts";
import type { Problem } from "../output/problem.ts";
import {
  CONFIG_OPTION,
  dataDirOf,
  flag,
  JSON_OPTION,
  NODE_OPTIONS,
  number,
  text,
  type Verb,
} from "../verb.ts";
import { SINCE_OPTION } from "./past/since-option.ts";

/** Longer than the node waits for the application's write lock, or for a majority. */
const CHANGE_MS = 30_000;
/** A restore of a whole table. */
const RESTORE_ALL_MS = 600_000;

const FILTER = ["table", "since", "origin", "open"] as const;
/** Options of each action, beside those that find the node. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  list: [...FILTER, "limit"],
  show: [],
  restore: ["as-new", "overwrite", "table", "from", "dry-run"],
  dismiss: ["all", "table", "since", "origin"],
};
const OWN = [...new Set(Object.values(ALLOWED).flat())];

const problem = (message: string, hint: string): readonly Problem[] => [{ message, hint }];

function check(options: Options, [action = "list", id]: readonly string[]): readonly Problem[] {
  const allowed = ALLOWED[action];
  if (allowed === undefined || (action === "list" && id !== undefined))
    return problem(
      `conflicts should be followed by list, show ID, restore ID or dismiss ID, not by ${[action, id].filter(Boolean).join(" ")}`,
      "marmot conflicts list --db app.db shows the ids",
    );
  const misplaced = OWN.filter((name) => options[name] !== undefined && !allowed.includes(name));
  if (misplaced.length > 0)
    return problem(
      `--${misplaced.join(" and --")} does not belong to conflicts ${action}`,
      `leave it out; of it are ${allowed.map((name) => `--${name}`).join(", ") || "no options"}`,
    );
  if (action === "show" && id === undefined)
    return problem(
      "conflicts show should be followed by an id",
      "marmot conflicts list --db app.db shows the ids",
    );
  if (action === "dismiss" && (id === undefined) !== flag(options, "all"))
    return problem(
      "conflicts dismiss needs either an id or --all",
      "marmot conflicts dismiss 0:1234:0 --db app.db",
    );
  return action === "restore" ? checkRestore(options, id) : [];
}

function checkRestore(options: Options, id: string | undefined): readonly Problem[] {
  const ofTable = ["table", "from", "dry-run"].filter((name) => options[name] !== undefined);
  if (id !== undefined && ofTable.length > 0)
    return problem(
      `--${ofTable.join(" and --")} restores many conflicts, but one id is given`,
      "leave the id out, or these options",
    );
  if (id !== undefined) return [];
  if (text(options, "table") === null || text(options, "from") === null || flag(options, "as-new"))
    return problem(
      "conflicts restore needs an id, or --table and --from without --as-new",
      "marmot conflicts restore --table orders --from node-2 --dry-run --db app.db",
    );
  return [];
}

function filterQuery(options: Options): string {
  const query = new URLSearchParams();
  for (const name of FILTER)
    if (options[name] !== undefined) query.set(name, String(options[name] as string | boolean));
  return query.toString();
}

async function run(options: Options, words: readonly string[], context: CliContext): Promise<number> {
  const [action = "list", id] = words;
  const client = new NodeClient(dataDirOf(options));
  const show = <T>(result: T, asText: (result: T) => string): void =>
    context.print(flag(options, "json") ? JSON.stringify(result) : asText(result));
  const path = `/api/v1/conflicts/${encodeURIComponent(id ?? "all")}`;
  if (action === "show") show(await client.request<ConflictDetail>("GET", path), detailText);
  else if (action === "dismiss") {
    const done = await client.request<DismissResult>(
      "POST",
      `${path}/dismiss?${id === undefined ? filterQuery(options) : ""}`,
      CHANGE_MS,
    );
    show(done, ({ dismissed }) => `${dismissed.length} dismissed${dismissed.map((d) => `\n${d}`).join("")}`);
  } else if (action === "restore" && id !== undefined) {
    const query = `asNew=${flag(options, "as-new")}&overwrite=${flag(options, "overwrite")}`;
    show(await client.request<RestoreResult>("POST", `${path}/restore?${query}`, CHANGE_MS), restoredText);
  } else if (action === "restore") {
    const done = await client.request<RestoreAllResult>(
      "POST",
      `${path}/restore?${restoreQuery(options)}`,
      RESTORE_ALL_MS,
    );
    show(done, restoredAllText);
    return done.left.length === 0 ? 0 : 1;
  } else {
    const limit = number(options, "limit") ?? 100;
    const query = `limit=${limit}&${filterQuery(options)}`;
    show(await client.request<ConflictSummary[]>("GET", `/api/v1/conflicts?${query}`), listText);
  }
  return 0;
}

const restoreQuery = (options: Options): string =>
  new URLSearchParams({
    table: text(options, "table")!,
    from: text(options, "from")!,
    overwrite: String(flag(options, "overwrite")),
    dryRun: String(flag(options, "dry-run")),
  }).toString();

export const conflictsVerb: Verb = {
  name: "conflicts",
  summary: "Lists, restores, dismisses rows that lost to a concurrent write.",
  details: [
    "restore writes losing rows again, as ordinary writes on this node: that of ID,",
    "or all of --table that were written on --from. dismiss ID or --all is a note.",
  ],
  usage: "conflicts [list|show ID|restore ID|dismiss ID] --db FILE [options]",
  words: 2,
  actions: ["list", "show", "restore", "dismiss"],
  options: [
    ...NODE_OPTIONS,
    { name: "table", type: "text", value: "T", help: "only of this table; ", example: "orders" },
    { name: "open", type: "flag", help: "only open ones", joined: true },
    { ...SINCE_OPTION, help: "only newer ones: 2h, a time, c:812", example: "2h" },
    { name: "origin", type: "text", value: "NODE", help: "only writes of NODE that lost", example: "node-2" },
    {
      ...{ name: "limit", type: "number", value: "N", help: "list the newest N (100)" },
      ...{ minimum: 1, maximum: 10_000 },
    },
    { name: "from", type: "text", value: "NODE", help: "restore what NODE lost; ", example: "node-2" },
    { name: "dry-run", type: "flag", help: "only show it", joined: true },
    { name: "as-new", type: "flag", help: "restore under a new id, with its children" },
    { name: "overwrite", type: "flag", help: "restore even if the row was written since" },
    { name: "all", type: "flag", help: "dismiss all open ones, as chosen" },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot conflicts show 0:1234:0 --db app.db",
  check,
  run,
};
