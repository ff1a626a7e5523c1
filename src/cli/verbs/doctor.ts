/** `marmot doctor`: whether `marmot run` with the same options would start, and which tables replicate. Needs no cluster. */
import { shellWord } from "../../base/text/spans.ts";
import type { NodeStatus } from "../../operations/api.ts";
import type { Inspection } from "../../node/offline/doctor.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import { incomplete } from "../options/history-options.ts";
import type { OptionSpec } from "../options/option-value.ts";
import type { Options } from "../options/options.ts";
import { type Problem, refused } from "../output/problem.ts";
import { table } from "../output/table.ts";
import {
  contradictions,
  doubled,
  FUNCTIONS_OPTION,
  LIBRARIES_OPTION,
  RUN_OPTIONS,
  type RunSettings,
  runSettings,
} from "../run-options.ts";
import { CONFIG_OPTION, DB_OPTION, flag, JSON_OPTION, list, text, type Verb } from "../verb.ts";

/** A running node on this machine answers within this time. */
const ANSWER_MS = 1000;

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const settings = settingsOf(options, context);
  const { node } = settings;
  const { inspectDatabase } = await import("../../node/offline/doctor.ts");
  const client = new NodeClient(node.dataDir);
  const isRunning = await client.answers(ANSWER_MS);
  const { survey } = await import("../run-survey.ts");
  const problems = isRunning ? await haltOf(client) : await survey(settings);
  const found = await inspectDatabase(node, { problems, isRunning, isDeep: flag(options, "deep") });
  if (flag(options, "json")) context.print(JSON.stringify(found));
  else await show(found, context);
  return found.replicates ? 0 : 1;
}

/** As for `run`. Ports are looked at only if they are given: those of another node may be the usual ones. */
function settingsOf(options: Options, context: CliContext): RunSettings {
  const { node, admin, ...rest } = runSettings(options, context);
  return {
    ...rest,
    node: { ...node, listen: list(options, "listen") ?? [] },
    admin: text(options, "admin") === null ? null : admin,
  };
}

/** The state of the running node, if it is one that a start would end in, too. */
async function haltOf(client: NodeClient): Promise<readonly Problem[]> {
  const { node, verdict } = await client.request<NodeStatus>("GET", "/api/v1/status");
  if (node.state === "ready" || node.state === "waiting") return [];
  const [message, hint] = node.waitingFor.split("; hint: ") as [string, string | undefined];
  return [{ message, hint: hint ?? verdict.findings[0]?.command ?? "marmot status shows it" }];
}

async function show(found: Inspection, context: CliContext): Promise<void> {
  const { problems, tables } = found;
  if (tables.length === 0 && problems.length > 0) throw refused(problems, "marmot doctor");
  const { grouped } = await import("../../node/offline/doctor.ts");
  const rows = grouped(tables, found.followers);
  context.print(
    table(
      ["TABLE", "VERDICT", "REASON"],
      rows.map((t) => [t.name, t.verdict, t.reason]),
    ),
  );
  const hints = rows.filter((t) => t.hint !== "");
  if (hints.length > 0) context.print(`\n${hints.map((t) => `${t.name}: ${t.hint}`).join("\n")}`);
  context.print(`\n${[...notes(found), verdictOf(found)].join("\n")}`);
}

function notes(found: Inspection): string[] {
  const { journalMode, capturedBy } = found;
  const mode = journalMode === "wal" || journalMode === "" ? "" : " (run switches it to WAL)";
  const pages = found.pagesChecked
    ? "pages checked"
    : "pages not checked, the file is large (--deep checks them)";
  const told = [`text encoding ${found.encoding}, journal mode ${journalMode}${mode}, ${pages}`];
  if (capturedBy !== null)
    told.push(`captured by node ${capturedBy.peerId} of cluster ${capturedBy.clusterId}`);
  if (found.running) told.push(`a node runs on it: marmot status --db ${shellWord(found.file)}`);
  for (const { message, hint } of found.warnings) told.push(`warning: ${message}\nhint: ${hint}`);
  for (const { message, hint } of found.problems) told.push(`refused: ${message}\nhint: ${hint}`);
  return told;
}

function verdictOf({ replicates, running }: Inspection): string {
  if (running) return replicates ? "marmot run replicates it" : "marmot run does not replicate it";
  return replicates ? "marmot run would replicate it" : "marmot run would refuse it";
}

const OWN: readonly OptionSpec[] = [
  DB_OPTION,
  { name: "tables", type: "list", value: "A,B", help: "check only these", example: "a,b" },
  { name: "exclude", type: "list", value: "C", help: "leave these out", example: "c" },
  FUNCTIONS_OPTION,
  LIBRARIES_OPTION,
  { name: "deep", type: "flag", help: "check the pages of a large file, too" },
  JSON_OPTION,
  CONFIG_OPTION,
];

export const doctorVerb: Verb = {
  name: "doctor",
  summary: "Shows which tables replicate, need care or are refused.",
  details: [
    "With reason and hint. Needs no cluster and changes nothing.",
    "Takes every option of marmot run, and checks it as a start does.",
    "Exit code 1 when marmot run would refuse the file.",
  ],
  usage: "doctor --db FILE [options]",
  options: OWN,
  also: RUN_OPTIONS.filter(({ name }) => !OWN.some((own) => own.name === name)),
  example: "marmot doctor --db app.db",
  check: (options, _words, context) => [
    ...incomplete(options),
    ...contradictions(runSettings(options, context)),
    ...doubled(options),
  ],
  run,
};
