/** `marmot diff`: the changes since a time or a position, a line each. */
import { UserError } from "../../../base/errors.ts";
import type { NodeStatus } from "../../../operations/api.ts";
import { ARCHIVE_KEY_OPTION, ARCHIVE_OPTION } from "../../options/archive-options.ts";
import type { Problem } from "../../output/problem.ts";
import { FUNCTIONS_OPTION, LIBRARIES_OPTION } from "../../run-options.ts";
import { type ArchivePlace, archivePlace, nodeNames } from "./archive-place.ts";
import { giveFunctions, OPTIONAL_NODE } from "./archive-verb.ts";
import { NodeClient } from "../../client.ts";
import type { CliContext } from "../../context.ts";
import type { Options } from "../../options/options.ts";
import { CONFIG_OPTION, dataDirOf, flag, JSON_OPTION, text, type Verb } from "../../verb.ts";
import { changesPath } from "./changes-verb.ts";
import { SINCE_OPTION } from "./since-option.ts";
import { inTemporaryFolder } from "./temporary-folder.ts";

type Cells = Readonly<Record<string, unknown>>;

interface Change {
  readonly table: string;
  readonly op: string;
  readonly key: Cells;
  readonly before: Cells | null;
  readonly after: Cells | null;
}

interface Event {
  readonly kind: string;
  readonly position?: string;
  readonly entry: string;
  readonly time: string;
  readonly origin: string;
  readonly peer: string;
  readonly reason?: string;
  readonly changes?: readonly Change[];
}

/** A change of one row. */
export interface DiffLine extends Change {
  readonly position: string;
  readonly entry: string;
  readonly time: string;
  readonly origin: string;
  readonly peer: string;
}

function value(cell: unknown): string {
  if (typeof cell !== "object" || cell === null) return JSON.stringify(cell);
  const [[kind, text]] = Object.entries(cell as Record<string, string>) as [[string, string]];
  return kind === "blob" ? `x'${text}'` : text;
}

const cells = (row: Cells): string =>
  Object.entries(row)
    .map(([name, cell]) => `${name} ${value(cell)}`)
    .join(", ");

/** Of an update only the columns that differ. */
function differences(before: Cells, after: Cells): string {
  const changed = Object.keys(after).filter(
    (name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]),
  );
  return changed.map((name) => `${name} ${value(before[name])} => ${value(after[name])}`).join(", ");
}

function show(line: DiffLine): string {
  const { before, after, key, op, table } = line;
  const detail =
    before === null ? cells(after!) : after === null ? cells(before) : differences(before, after);
  return `${line.position || line.entry}  ${line.time}  ${line.origin}  ${op} ${table} (${cells(key)}): ${detail}`;
}

async function run(options: Options, _words: readonly string[], context: CliContext): Promise<number> {
  const json = flag(options, "json");
  const all: DiffLine[] = [];
  const take = (given: string): void => {
    const event = JSON.parse(given) as Event;
    if (event.kind === "end")
      throw new UserError(event.reason ?? "the history ended", "give the command again");
    if (event.kind !== "transaction") return;
    const { position = "", entry, time, origin, peer, changes = [] } = event;
    for (const change of changes) {
      const line = { position, entry, time, origin, peer, ...change };
      if (json) all.push(line);
      else context.print(show(line));
    }
  };
  const place = await usedArchive(options);
  if (text(options, "archive") !== null || !(await fromHistory(options, place !== null, take)))
    await fromArchive(place!, options, context, take);
  if (json) context.print(JSON.stringify(all));
  return 0;
}

/** null: the node has none, and none is named. */
async function usedArchive(options: Options): Promise<ArchivePlace | null> {
  if (text(options, "archive") !== null) return archivePlace(options, null);
  const client = new NodeClient(dataDirOf(options));
  const { archive } = await client.request<NodeStatus>("GET", "/api/v1/status");
  return archive === null
    ? null
    : { to: archive.to, keyFile: text(options, "archive-key") ?? archive.keyFile, node: archive };
}

/** False: it does not reach back so far, and `hasArchive`. */
async function fromHistory(
  options: Options,
  hasArchive: boolean,
  take: (line: string) => void,
): Promise<boolean> {
  const client = new NodeClient(dataDirOf(options));
  const wanted = text(options, "table");
  const path = changesPath(options, false, wanted === null ? null : [wanted]);
  try {
    for await (const line of client.lines(path)) take(line);
    return true;
  } catch (error) {
    const reason = error instanceof UserError ? error.message : "";
    if (hasArchive && /^the history of this node begins|records no history/.test(reason)) return false;
    throw error;
  }
}

async function fromArchive(
  { to, keyFile }: ArchivePlace,
  options: Options,
  context: CliContext,
  take: (line: string) => void,
): Promise<void> {
  const [{ archivedChanges }, { parseTarget }] = await Promise.all([
    import("../../../node/backup/archive-changes.ts"),
    import("../../../node/backup/archive-target.ts"),
  ]);
  await giveFunctions(options);
  const since = parseTarget(text(options, "since"), null, Date.now());
  if (since.kind === "newest") return;
  const wanted = text(options, "table");
  const tables = wanted === null ? null : [wanted];
  const names = await nodeNames(options);
  await inTemporaryFolder("marmot-diff-", context, async (folder) => {
    const { from, complete } = await archivedChanges(
      {
        ...{ source: to, keyFile, wanted: { kind: "since", since }, until: null, tables, names, folder },
        ...{ record: null, strict: false },
      },
      ({ json }) => take(json),
    );
    if (!complete) context.say(`the archive ${to} begins at ${from}`);
  });
}

/** A node, or an archive. */
function check(options: Options): readonly Problem[] {
  if (["archive", "db", "data-dir"].some((name) => text(options, name) !== null)) return [];
  return [
    {
      message: "diff needs the FILE of a node, or an archive",
      hint: "give --db app.db, or --archive /archive/app",
    },
  ];
}

export const diffVerb: Verb = {
  name: "diff",
  summary: "Lists the rows that changed since a time or a position.",
  details: [
    "Position, time, node, table, key, and the row before and after. Where the",
    "history of the node ends, its archive is read, or the one that is named.",
  ],
  usage: "diff --since TIME --db FILE [options]",
  options: [
    ...OPTIONAL_NODE,
    ARCHIVE_OPTION,
    ARCHIVE_KEY_OPTION,
    { ...SINCE_OPTION, required: true },
    { name: "table", type: "text", value: "T", help: "only of this table", example: "orders" },
    FUNCTIONS_OPTION,
    LIBRARIES_OPTION,
    JSON_OPTION,
    CONFIG_OPTION,
  ],
  example: "marmot diff --since 10m --db app.db",
  check,
  run,
};
