/**
 * Transactions of the replica. The file may be behind the positions in memory: parts of a changeset that is not whole have no
 * effect, so that nothing is stored until it is. After a crash such parts come again from the log.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { integer, readTuple } from "../sqlite/typed-rows.ts";
import type { BatchApplier } from "./batch-applier.ts";
import type { ReplicaComponents } from "./replica-components.ts";
import type { FileNote } from "./store/file-note.ts";
import type { AppliedPositions } from "./store/positions.ts";

/** Bytes of staged parts that may be in memory alone; a quarter of it for small rows. */
const UNSTORED_BYTES = 32 << 20;

interface TransactionComponents {
  readonly components: ReplicaComponents;
  readonly positions: AppliedPositions;
  readonly batches: BatchApplier;
  readonly fileNote: FileNote;
}

export class ReplicaTransaction {
  readonly #db: DatabaseSync;
  readonly #parts: TransactionComponents;
  readonly #statements: Record<"begin" | "read" | "commit" | "rollback" | "written", StatementSync>;
  #open = false;
  /** Rows that the connection had written when the open transaction began. */
  #writtenBefore = 0;
  #isAhead = false;
  /** Own parts are among those that are not stored. */
  #hasOwnAhead = false;

  constructor(db: DatabaseSync, parts: TransactionComponents) {
    this.#db = db;
    this.#parts = parts;
    this.#statements = {
      begin: db.prepare("BEGIN IMMEDIATE"),
      read: db.prepare("BEGIN"),
      commit: db.prepare("COMMIT"),
      rollback: db.prepare("ROLLBACK"),
      written: db.prepare("SELECT total_changes()"),
    };
    this.#statements.written.setReturnArrays(true);
  }

  get isOpen(): boolean {
    return this.#open;
  }

  /** The file is behind the positions. */
  get isAhead(): boolean {
    return this.#isAhead;
  }

  /** Unless it is open. */
  begin(): void {
    if (this.#open) return;
    this.#statements.begin.run();
    this.#open = true;
    this.#writtenBefore = this.#written;
  }

  get #written(): number {
    return readTuple(this.#statements.written.get(), integer)[0];
  }

  /** Stores the staged parts if the transaction wrote something, or if they take too much memory; null: neither. */
  storeParts(): Generator<void, void> | null {
    const { staged } = this.#parts.components;
    if (staged.unstoredBytes === 0) return null;
    const isDue = staged.unstoredCost > UNSTORED_BYTES || this.#written !== this.#writtenBefore;
    return isDue ? staged.store() : null;
  }

  commit(): void {
    const { components, positions, batches, fileNote } = this.#parts;
    const { history } = components;
    this.#isAhead = components.staged.unstoredBytes > 0;
    if (this.#isAhead) this.#hasOwnAhead ||= batches.hasOutcomes;
    else {
      positions.flush();
      components.flush();
      if (batches.hasOutcomes || this.#hasOwnAhead) fileNote.flush();
      history?.commit(positions.all());
      this.#hasOwnAhead = false;
    }
    this.#statements.commit.run();
    this.#open = false;
    if (!this.#isAhead) history?.committed();
  }

  rollback(): void {
    // On a full disk SQLite may have rolled back already.
    if (this.#open && this.#db.isTransaction) this.#statements.rollback.run();
    this.#open = false;
    // What is in memory is not that of the file from now on.
    this.#isAhead = false;
  }

  /** Brings the file to the positions. No transaction is open. */
  store(): void {
    this.begin();
    for (const _ of this.#parts.components.staged.store());
    this.commit();
  }

  /** A transaction beside the entries. */
  writing(work: () => void): void {
    this.#statements.begin.run();
    work();
    this.#statements.commit.run();
  }

  /** Many reads in one transaction: each costs a tenth of a read outside. `work` writes nothing. */
  reading<T>(work: () => T): T {
    if (this.#db.isTransaction) return work();
    this.#statements.read.run();
    try {
      return work();
    } finally {
      if (this.#db.isTransaction) this.#statements.commit.run();
    }
  }
}
