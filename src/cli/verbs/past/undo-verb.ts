/** `marmot undo`: takes changes back by a new transaction, which it shows first. */
import { UserError } from "../../../base/errors.ts";
import type { UndoResult } from "../../../operations/changes-api.ts";
import type { WaitResult } from "../../../operations/api.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
import type { Options } from "../../options/options.ts";
import type { Problem } from "../../output/problem.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, NODE_OPTIONS, text, type Verb } from "../../verb.ts";
import { SINCE_OPTION } from "./since-option.ts";

export interface UndoDocument extends UndoResult {
  /** Of the new transaction; "": nothing was written. */
  readonly position: string;
}

const UNDO_MS = 600_000;
/** Rows that are shown one by one. */
const SHOWN = 20;

const count = (n: number, unit: string): string => `${n} ${unit}${n === 1 ? "" : "s"}`;

function show({ transactions, tables, rows, left, leftRows, dryRun }: UndoResult): string {
  const total = tables.reduce((sum, t) => sum + t.rows, 0);
  const lines = [
    `${count(transactions, "transaction")}: ${count(total, "row")} ${dryRun ? "to take back" : "taken back"}`,
  ];
  for (const t of tables) lines.push(`  ${t.table}: ${count(t.rows, "row")}`);
  for (const r of rows.slice(0, SHOWN)) lines.push(`${r.table} ${r.key}: ${r.done}`);
  if (total > SHOWN) lines.push(`and ${total - SHOWN} more`);
  for (const l of left.slice(0, SHOWN))
    lines.push(`left as it is: ${`${l.table} ${l.key}`.trim()}: ${l.reason}`);
  if (leftRows > SHOWN) lines.push(`and ${leftRows - SHOWN} more are left`);
  if (left.some(({ reason }) => isForced(reason)))
    lines.push("--force also takes back rows that were changed since or to which others refer");
  return lines.join("\n");
}

const isForced = (reason: string): boolean => /changed since|refer/.test(reason) && !/columns/.test(reason);

function queryOf(options: Options, dryRun: boolean): string {
  const query = new URLSearchParams({ dryRun: String(dryRun), force: String(flag(options, "force")) });
  for (const name of ["position", "since", "origin", "table"]) {
    const given = text(options, name);
    if (given !== null) query.set(name, given);
  }
  return query.toString();
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const client = new NodeClient(dataDirOf(options));
  const json = flag(options, "json");
  const ask = (dryRun: boolean): Promise<UndoResult> =>
    client.request<UndoResult>("POST", `/api/v1/undo?${queryOf(options, dryRun)}`, UNDO_MS);
  const dryRun = flag(options, "dry-run");
  if (dryRun || !flag(options, "yes")) {
    const plan = await ask(true);
    if (dryRun || plan.tables.length === 0) {
      const document: UndoDocument = { ...plan, position: "" };
      context.print(json ? JSON.stringify(document) : show(plan));
      return 0;
    }
    context.say(show(plan));
    const answer = context.ask("Take this back? [yes/no]");
    if (answer === null)
      throw new UserError(
        "nothing is written: there is no terminal to ask",
        "give --yes to write it, or --dry-run",
      );
    if (answer !== "y" && answer !== "yes")
      throw new UserError("nothing is written", "answer yes to write it");
  }
  const done = await ask(false);
  const { position, missing } = await client.requestWait<WaitResult>("/api/v1/wait?timeout=60s", UNDO_MS);
  const document: UndoDocument = { ...done, position };
  context.print(json ? JSON.stringify(document) : show(done));
  if (missing !== "") context.say(`written, and not ordered yet: waiting for ${missing}`);
  return missing === "" ? 0 : 1;
}

function check(options: Options): readonly Problem[] {
  const given = ["position", "since"].filter((name) => options[name] !== undefined);
  if (given.length === 1) return [];
  return [
    {
      message: `undo needs either --position or --since, and ${given.length === 0 ? "none" : "both"} is given`,
      hint: "marmot undo --since 10m --dry-run --db app.db",
    },
  ];
}

export const undoVerb: Verb = {
  name: "undo",
  summary: "Takes changes back by a new transaction, which it shows first.",
  details: [
    "Rows that were changed again afterwards are left and listed, unless --force.",
    "An undo is an ordinary transaction, and can itself be undone.",
  ],
  usage: "undo --position POS|--since TIME --db FILE [options]",
  options: [
    ...NODE_OPTIONS,
    {
      ...{ name: "position", type: "text", value: "POS", example: "c:812" },
      help: "the transaction at this position",
    },
    { ...SINCE_OPTION, help: "all since: 10m, a time, or a position (c:812)" },
    { name: "origin", type: "text", value: "NODE", help: "only transactions of NODE", example: "node-2" },
    { name: "table", type: "text", value: "T", help: "only rows of this table", example: "orders" },
    { name: "force", type: "flag", help: "also rows that were changed afterwards" },
    { name: "dry-run", type: "flag", help: "only show the rows; " },
    { name: "yes", type: "flag", help: "do not ask", joined: true },
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot undo --position c:812 --dry-run --db app.db",
  check,
  run,
};
