/** `marmot archive`: the reach of an archive, the proof that it can be restored, and the removal of old parts. */
import type { ArchiveReport } from "../../../node/backup/archive-report.ts";
import type { VerifiedArchive } from "../../../node/backup/restore-archive.ts";
import { showCount, showSpan, totalRows } from "../../../base/text/spans.ts";
import type { ArchiveStatus } from "../../../operations/archive-api.ts";
import { type ArchivePlace, archivePlace, namesArchive } from "./archive-place.ts";
import type { CliContext } from "../../context.ts";
import {
  ARCHIVE_KEEP_OPTION,
  ARCHIVE_KEY_OPTION,
  ARCHIVE_OPTION,
  parseKeep,
} from "../../options/archive-options.ts";
import type { OptionSpec } from "../../options/option-value.ts";
import type { Options } from "../../options/options.ts";
import type { Problem } from "../../output/problem.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../../run-options.ts";
import { inTemporaryFolder } from "./temporary-folder.ts";
import {
  CONFIG_OPTION,
  DATA_DIR_OPTION,
  DB_OPTION,
  flag,
  hasNode,
  JSON_OPTION,
  list,
  text,
  type Verb,
} from "../../verb.ts";

const ACTIONS = ["status", "verify", "prune"];

const { required: _, ...db } = DB_OPTION;
/** For verbs that can do without a node. */
export const OPTIONAL_NODE: readonly OptionSpec[] = [
  { ...db, help: "or the archive of this node; " },
  { ...DATA_DIR_OPTION, help: "DIR of it", joined: true },
];

/** Functions and libraries that the schema needs. */
export async function giveFunctions(options: Options): Promise<void> {
  const { giveExtensions } = await import("../../../node/startup/give-extensions.ts");
  await giveExtensions({
    functions: text(options, "functions"),
    libraries: list(options, "load-extension") ?? [],
  });
}

function showNode({ state, behindEntries, behindMs, error, drill }: ArchiveStatus): string[] {
  const behind =
    behindEntries === 0 ? "" : `, ${showCount(behindEntries)} entries behind for ${showSpan(behindMs)}`;
  const lines = [`this node: ${state}${behind}${error === "" ? "" : `: ${error}`}`];
  if (drill !== null)
    lines.push(
      drill.ok
        ? `last drill: ${drill.position} restored in ${showSpan(drill.ms)}`
        : `last drill FAILED: ${drill.error}`,
    );
  return lines;
}

function showReport({ to, cluster, encrypted, first, last, links, snapshots, node }: ArchiveReport): string {
  const reach =
    first === null
      ? "it has no snapshot yet"
      : `every position from ${first.position} (${first.time}) to ${last!.position} (${last!.time}), complete until ${last!.until}`;
  return [
    `${to}: the archive of cluster ${cluster}${encrypted ? ", encrypted" : ""}`,
    reach,
    `${showCount(links)} links, ${showCount(snapshots)} snapshots`,
    ...(node === null ? [] : showNode(node)),
  ].join("\n");
}

function showVerified(verified: VerifiedArchive): string {
  const { source, links, snapshots, position, time, entries, checked, rows, gaps, first } = verified;
  return [
    `${source}: ${showCount(links)} links and ${showCount(snapshots)} snapshots, whole`,
    `restored ${position} (${time}): ${showCount(totalRows(rows))} rows, ${showCount(entries)} entries after the snapshot, integrity ok`,
    checked
      ? "its checksums are those that the cluster had there"
      : "no checksums of the cluster are known at this position",
    ...gaps.map(
      ({ after, until }) => `not shipped in time, and lost for the archive: after ${after}, before ${until}`,
    ),
    `every other position from ${first} on can be restored`,
  ].join("\n");
}

async function status(place: ArchivePlace): Promise<{ result: object; shown: string; code: number }> {
  const { archiveReport } = await import("../../../node/backup/archive-report.ts");
  const result = await archiveReport(place.to, place.keyFile, place.node);
  return { result, shown: showReport(result), code: place.node?.state === "paused" ? 1 : 0 };
}

async function verify(
  place: ArchivePlace,
  options: Options,
  context: CliContext,
): Promise<{ result: object; shown: string; code: number }> {
  await giveFunctions(options);
  const { verifyArchive } = await import("../../../node/backup/restore-archive.ts");
  const wanted = { source: place.to, keyFile: place.keyFile, newest: flag(options, "newest") };
  const result = await inTemporaryFolder("marmot-drill-", context, (folder) => verifyArchive(wanted, folder));
  return { result, shown: showVerified(result), code: 0 };
}

async function pruneOld(
  place: ArchivePlace,
  options: Options,
): Promise<{ result: object; shown: string; code: number }> {
  const { pruneArchive } = await import("../../../node/backup/archive-report.ts");
  const given = text(options, "archive-keep");
  const keep =
    given === null
      ? { ms: place.node?.keepMs ?? null, snapshots: place.node?.keepSnapshots ?? null }
      : parseKeep(given)!;
  const result = await pruneArchive(place.to, place.keyFile, keep);
  const shown = `${result.to}: ${showCount(result.links)} links and ${showCount(result.copies)} copies are removed; it begins at ${result.first}`;
  return { result, shown, code: 0 };
}

async function run(options: Options, [action, to]: readonly string[], context: CliContext): Promise<number> {
  const place = await archivePlace(options, to ?? null);
  const { result, shown, code } =
    action === "status"
      ? await status(place)
      : action === "verify"
        ? await verify(place, options, context)
        : await pruneOld(place, options);
  context.print(flag(options, "json") ? JSON.stringify(result) : shown);
  return code;
}

function check(options: Options, [action = "", to]: readonly string[]): readonly Problem[] {
  if (!ACTIONS.includes(action))
    return [
      {
        message: `archive should be followed by ${ACTIONS.join(", ")}, not by ${action || "nothing"}`,
        hint: "marmot archive status --db app.db shows the archive of a node",
      },
    ];
  const problems: Problem[] = [];
  if (to === undefined && !namesArchive(options))
    problems.push({
      message: `archive ${action} needs an archive, or the FILE of a node that ships to one`,
      hint: `marmot archive ${action} /archive/app, or marmot archive ${action} --db app.db`,
    });
  if (action === "prune" && text(options, "archive-keep") === null && !hasNode(options))
    problems.push({
      message: "archive prune needs --archive-keep: how much is to be kept",
      hint: "for example --archive-keep 30d",
    });
  return problems;
}

export const archiveVerb: Verb = {
  name: "archive",
  summary: "Shows, verifies and prunes an archive.",
  details: [
    "archive status: its reach. archive verify: reads all of it, restores the newest",
    "state, compares it with that of the cluster. archive prune: removes old parts.",
    "DEST: DIR or s3://BUCKET/PREFIX; without it, that of the node of FILE.",
  ],
  usage: "archive ACTION [DEST] [options]",
  words: 2,
  actions: ACTIONS,
  options: [
    ...OPTIONAL_NODE,
    ARCHIVE_OPTION,
    ARCHIVE_KEY_OPTION,
    { ...ARCHIVE_KEEP_OPTION, help: "prune: 30d, or a number of snapshots" },
    { name: "newest", type: "flag", help: "verify: from the newest snapshot on alone" },
    FUNCTIONS_OPTION,
    LIBRARIES_OPTION,
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot archive verify /archive/app",
  check,
  run,
};
