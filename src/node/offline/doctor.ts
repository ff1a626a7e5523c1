/** The report of `marmot doctor` on a database: by the same checks as the start of `marmot run`. Reads only. */
import { shellWord } from "../../base/text/spans.ts";
import { marmotCommand } from "../../base/text/commands.ts";
import { existsSync } from "node:fs";
import type { DatabaseSync } from "node:sqlite";
import { nextTurn } from "../../base/clock.ts";
import { errorMessage, isDamage, UserError } from "../../base/errors.ts";
import { HaltError } from "../../base/halt.ts";
import { NO_PEER, type PeerId } from "../../base/ids.ts";
import { foldName } from "../../base/names.ts";
import { readMeta } from "../../capture/install.ts";
import { type DataPaths, dataPaths } from "../../replication/machine/data-paths.ts";
import { readAppDbSchema } from "../../schema-sync/detect-change.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import { classify, NOT_SELECTED } from "../../schema/classify/classify.ts";
import { followersOf, habitsOf, someOf } from "../../schema/classify/habits.ts";
import { type ClassifiedTable, PICKED_IDS, replicates } from "../../schema/classify/table-verdict.ts";
import { damageText, findDamage, QUICK_CHECK_BYTES, sizeOf } from "../../sqlite/damage.ts";
import { LOCKED_MS } from "../../sqlite/locked.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { queryOf } from "../../sqlite/query.ts";
import { requireOwnSqlite, type SqliteVersion } from "../../sqlite/versions/sqlite-version.ts";
import { readWriterVersion, walResetNote } from "../../sqlite/versions/writer-version.ts";
import { checkClusterSettings, readClusterSettings } from "../cluster-settings.ts";
import { damagedHalt, inspectFile } from "../file/inspect-file.ts";
import { readPeerId } from "../keys.ts";
import type { NodeOptions } from "../options.ts";
import { checkMemberFiles } from "../startup/check-files.ts";
import { type DecidedStart, decideStart } from "../decide-start.ts";
import { type FileProblem, salvageHint } from "../startup/file-access.ts";
import { fileSystemProblems } from "../startup/file-systems.ts";
import { checkPages, checkSettings, classifySelected } from "../startup/form-cluster.ts";
import { giveExtensions } from "../startup/give-extensions.ts";
import { lostReplica } from "../startup/lost-replica.ts";

/** Of a file that can be read. */
export interface InspectedTables {
  readonly encoding: string;
  readonly journalMode: string;
  /** Peer id and cluster of the node that captures the file; null: no node does. */
  readonly capturedBy: { readonly clusterId: string; readonly peerId: string } | null;
  readonly tables: readonly ClassifiedTable[];
  /** Tables that refer to ids which two nodes may pick: their rows follow the parent that wins. */
  readonly followers: readonly string[];
}

export interface Inspection extends InspectedTables {
  readonly file: string;
  /** A node runs on the file now. */
  readonly running: boolean;
  /** SQLite's quick_check was run on the whole file. */
  readonly pagesChecked: boolean;
  /** The refusals of `marmot run`, beside those of tables. */
  readonly problems: readonly FileProblem[];
  /** No reasons to refuse the file, but dangers for it. */
  readonly warnings: readonly FileProblem[];
  /** Whether `marmot run` accepts the file with these options. */
  readonly replicates: boolean;
}

export interface InspectOptions {
  /** Found by the survey of `marmot run`, or told by the node that runs. */
  readonly problems: readonly FileProblem[];
  readonly isRunning: boolean;
  /** Check the pages of a file of any size. */
  readonly isDeep: boolean;
}

const NOTHING: InspectedTables = {
  ...{ encoding: "", journalMode: "", capturedBy: null },
  ...{ tables: [], followers: [] },
};

export async function inspectDatabase(options: NodeOptions, given: InspectOptions): Promise<Inspection> {
  const inspection = new Inspecting(options, given);
  return inspection.run();
}

class Inspecting {
  readonly #options: NodeOptions;
  readonly #given: InspectOptions;
  readonly #paths: DataPaths;
  readonly #problems: FileProblem[];
  readonly #warnings: FileProblem[] = [];
  #pagesChecked = false;

  constructor(options: NodeOptions, given: InspectOptions) {
    this.#options = options;
    this.#given = given;
    this.#paths = dataPaths(options.dataDir);
    this.#problems = [...given.problems];
  }

  async run(): Promise<Inspection> {
    const { db, dataDir, unsafeFileSystem } = this.#options;
    const { isRunning } = this.#given;
    // Before SQLite opens the file in this process.
    const application = readWriterVersion(db);
    const note = walResetNote(application);
    if (note !== null) this.#warnings.push(note);
    if (unsafeFileSystem === true) this.#warnings.push(...fileSystemProblems(db, dataDir));
    await this.#attempt(async () => {
      await giveExtensions(this.#options);
      requireOwnSqlite();
    });
    const peerId = existsSync(this.#paths.identity) ? await readPeerId(dataDir) : NO_PEER;
    const isUsable = this.#problems.length === 0 && !isRunning;
    const start = isUsable
      ? await this.#attempt(() => Promise.resolve(decideStart(this.#options, this.#paths, peerId)))
      : null;
    const isMember = isRunning || start?.kind === "member";
    if (start?.kind === "member") await this.#attempt(() => this.#checkMember(start, peerId));
    const tables = existsSync(db)
      ? await this.#attempt(() => this.#read(application, start, isMember))
      : null;
    return {
      ...{ file: db, running: isRunning, pagesChecked: this.#pagesChecked },
      ...(tables ?? NOTHING),
      problems: [...new Map(this.#problems.map((problem) => [problem.message, problem])).values()],
      warnings: this.#warnings,
      replicates:
        this.#problems.length === 0 && (tables ?? NOTHING).tables.every((t) => t.verdict !== "refused"),
    };
  }

  /** null: it threw a problem, which is kept. */
  async #attempt<T>(work: () => Promise<T>): Promise<T | null> {
    const { db } = this.#options;
    try {
      return await work();
    } catch (error) {
      if (error instanceof UserError) {
        const { message, hint } =
          error instanceof HaltError ? { ...error.halt, message: error.message } : error;
        this.#problems.push({ message, hint });
        return null;
      }
      const [message, hint] = isDamage(error)
        ? [
            `${db} is damaged: ${damageText(error)}`,
            existsSync(this.#paths.replica)
              ? marmotCommand("repair", { db, folder: this.#paths.folder })
              : salvageHint(db),
          ]
        : [
            `${db} cannot be read: ${errorMessage(error)}`,
            `run sqlite3 ${shellWord(db)} "PRAGMA quick_check"`,
          ];
      // A damaged file has its problem already.
      if (this.#problems.length === 0) this.#problems.push({ message, hint });
      return null;
    }
  }

  async #read(
    application: SqliteVersion | null,
    start: DecidedStart | null,
    isMember: boolean,
  ): Promise<InspectedTables> {
    const { db: file } = this.#options;
    const db = openAppDb(file, { readOnly: true, timeout: LOCKED_MS });
    try {
      this.#pagesChecked = this.#given.isDeep || sizeOf(db) <= QUICK_CHECK_BYTES;
      // Of a stopped member it is done with the other checks of its file.
      if (!isMember) checkPages(db, file, this.#given.isDeep);
      else if (start === null && this.#problems.length === 0) this.#checkPagesOfMember(db);
      const query = queryOf(db);
      const capturedBy = readMeta(db, file);
      const tables =
        isMember && capturedBy !== null
          ? memberTables(db, this.#paths, application)
          : await this.#newTables(db, application, !isMember && start?.kind !== "join");
      const names = tables.filter(replicates).map(({ name }) => name);
      const { encoding, objects } = readCatalogue(query);
      this.#warnings.push(...habitsOf(query, objects, names));
      return {
        encoding,
        journalMode: String(query("PRAGMA journal_mode")[0]![0]),
        capturedBy,
        tables,
        followers: followersOf(
          query,
          tables.filter(({ reason }) => reason === PICKED_IDS).map(({ name }) => name),
          names,
        ),
      };
    } finally {
      db.close();
    }
  }

  #checkPagesOfMember(db: DatabaseSync): void {
    const damage = this.#pagesChecked ? findDamage(db) : null;
    const { db: file } = this.#options;
    const inspected = { file, paths: this.#paths, peerId: NO_PEER, pause: nextTurn };
    if (damage !== null) throw new HaltError(damagedHalt(inspected, damage));
  }

  /** Of a file that a node would form a cluster with, or join one. */
  async #newTables(
    db: DatabaseSync,
    application: SqliteVersion | null,
    forms: boolean,
  ): Promise<readonly ClassifiedTable[]> {
    const { db: file, tables, exclude, merge, idBlock } = this.#options;
    const selection = { tables, exclude: exclude ?? [] };
    const all = classifySelected(db, file, selection, application);
    const isWhole = all.every((t) => t.verdict !== "refused");
    if (forms && isWhole)
      await this.#attempt(() => Promise.resolve(checkSettings(all, { db: file, merge, idBlock })));
    return all;
  }

  async #checkMember(start: DecidedStart, peerId: PeerId): Promise<void> {
    const { db: file } = this.#options;
    const lost = lostReplica(this.#paths);
    if (lost !== null) {
      this.#warnings.push({
        message: lost,
        hint: "start the node: it receives the replica from another member",
      });
      return;
    }
    const isSuspect = this.#given.isDeep;
    checkClusterSettings(this.#options, checkMemberFiles(file, this.#paths, peerId, start.head));
    const found = await inspectFile({ file, paths: this.#paths, peerId, isSuspect, pause: nextTurn });
    if (found.kind === "halt") throw new HaltError(found.halt);
  }
}

/** The tables of a member's file, as its node replicates them. */
function memberTables(
  db: DatabaseSync,
  paths: DataPaths,
  application: SqliteVersion | null,
): readonly ClassifiedTable[] {
  const { selection } = readClusterSettings(paths.replica);
  const tables = classify(queryOf(db), selection, application);
  const schema = readAppDbSchema(db, { ...selection, application });
  if (schema === null) return tables;
  const held = new Map(schema.held.map((t) => [foldName(t.name), t]));
  const local = new Map(schema.local.map((t) => [foldName(t.name), t]));
  return tables.map((table): ClassifiedTable => {
    const { name, reason, hint } = held.get(foldName(table.name)) ?? local.get(foldName(table.name)) ?? table;
    if (held.has(foldName(name))) return { name, verdict: "held", reason, hint };
    if (local.has(foldName(name)))
      return { name, verdict: "skipped", reason: `${reason}; it stays on this node`, hint };
    return table.verdict === "refused" && reason !== NOT_SELECTED
      ? { ...table, verdict: "skipped", reason: `${reason}; it stays on this node` }
      : table;
  });
}

/** Tables that need care for the same reason share one line, in the place of the first. `followers`: of ids that SQLite picks. */
export function grouped(tables: readonly ClassifiedTable[], followers: readonly string[]): ClassifiedTable[] {
  const isAlike = (a: ClassifiedTable, b: ClassifiedTable): boolean =>
    a.verdict === "care" && b.verdict === "care" && a.reason === b.reason && a.hint === b.hint;
  return tables.flatMap((table, i) => {
    const alike = tables.filter((other) => isAlike(table, other));
    if (alike.length > 1 && tables.findIndex((other) => isAlike(table, other)) !== i) return [];
    const name = alike.length > 1 ? `${alike.length} tables` : table.name;
    const names = alike.length > 1 ? `: ${someOf(alike.map((t) => t.name))}` : "";
    const follow =
      table.reason === PICKED_IDS && followers.length > 0
        ? `; rows that refer to its id follow that row: ${someOf(followers)}`
        : "";
    return [{ ...table, name, reason: `${table.reason}${names}${follow}` }];
  });
}
