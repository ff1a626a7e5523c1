/** The report of `marmot doctor` on a database, without a cluster: by the same classification as `marmot run`. */
import { errorMessage, UserError } from "../../base/errors.ts";
import { readMeta } from "../../capture/install.ts";
import { readCatalogue } from "../../schema/catalogue.ts";
import { type ClassifiedTable, PICKED_IDS } from "../../schema/classify/table-verdict.ts";
import { followersOf, habitsOf, someOf } from "../../schema/classify/habits.ts";
import type { Selection } from "../../schema/selection.ts";
import { openAppDb } from "../../sqlite/open-app-db.ts";
import { readWriterVersion, walResetNote } from "../../sqlite/versions/writer-version.ts";
import { queryOf } from "../../sqlite/query.ts";
import { fileSystemProblems } from "../startup/file-systems.ts";
import { requireDatabase } from "../startup/check-files.ts";
import { classifySelected } from "../startup/form-cluster.ts";

export interface Inspection {
  readonly file: string;
  readonly encoding: string;
  readonly journalMode: string;
  /** Peer id and cluster of the node that captures the file; null: no node does. */
  readonly capturedBy: { readonly clusterId: string; readonly peerId: string } | null;
  readonly tables: readonly ClassifiedTable[];
  /** Tables that refer to ids which two nodes may pick: their rows follow the parent that wins. */
  readonly followers: readonly string[];
  /** No reasons to refuse the file, but dangers for it. */
  readonly warnings: readonly { readonly message: string; readonly hint: string }[];
  /** Whether `marmot run` accepts the file with this selection. */
  readonly replicates: boolean;
}

/** Reads only. Throws `UserError` for a file that is no database. */
export function inspectDatabase(file: string, selection: Selection): Inspection {
  // Before SQLite opens the file in this process.
  const application = readWriterVersion(file);
  const warnings = [walResetNote(application), ...fileSystemProblems(file, null)].filter(
    (warning) => warning !== null,
  );
  requireDatabase(file);
  const db = openAppDb(file, { readOnly: true });
  try {
    const query = queryOf(db);
    const tables = classifySelected(db, file, selection, application);
    const replicated = tables.filter(({ verdict }) => verdict === "replicates" || verdict === "care");
    const names = replicated.map(({ name }) => name);
    const { encoding, objects } = readCatalogue(query);
    return {
      file,
      encoding,
      journalMode: String(query("PRAGMA journal_mode")[0]![0]),
      capturedBy: readMeta(db, file),
      tables,
      followers: followersOf(
        query,
        tables.filter(({ reason }) => reason === PICKED_IDS).map(({ name }) => name),
        names,
      ),
      warnings: [...warnings, ...habitsOf(query, objects, names)],
      replicates: tables.every((t) => t.verdict !== "refused"),
    };
  } catch (error) {
    if (error instanceof UserError) throw error;
    throw new UserError(
      `${file} cannot be read: ${errorMessage(error)}`,
      `run sqlite3 ${file} "PRAGMA integrity_check"`,
      { cause: error },
    );
  } finally {
    db.close();
  }
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
