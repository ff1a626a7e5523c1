/** Events of the data: a new schema version, and conflicts. */
import type { Logger } from "../../base/logger.ts";
import { counted } from "../../base/text/spans.ts";
import type { ConflictSummary } from "../api.ts";

/** Between two events of conflicts. */
const CONFLICTS_MS = 10_000;

export interface DataFacts {
  readonly schemaVersion: number;
  /** The name of the node from which the current schema came; "": unknown. */
  readonly schemaFrom: () => string;
  /** Since the files were opened. */
  readonly conflicts: number;
  readonly newestConflict: () => ConflictSummary | null;
}

export class DataEvents {
  readonly #logger: Logger;
  #schemaVersion: number | null = null;
  #conflicts: number | null = null;
  #toldAt = Number.NEGATIVE_INFINITY;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** null: the node is no member now. */
  look(facts: DataFacts | null, now: number): void {
    if (facts === null) return;
    this.#lookAtSchema(facts);
    this.#lookAtConflicts(facts, now);
  }

  #lookAtSchema({ schemaVersion, schemaFrom }: DataFacts): void {
    const last = this.#schemaVersion;
    this.#schemaVersion = schemaVersion;
    if (last === null || schemaVersion <= last) return;
    const from = schemaFrom();
    this.#logger.event("schema", `schema version ${schemaVersion}${from === "" ? "" : ` from ${from}`}`, {
      version: schemaVersion,
      ...(from === "" ? {} : { from }),
    });
  }

  #lookAtConflicts({ conflicts, newestConflict }: DataFacts, now: number): void {
    // The count begins again when the files are opened again.
    if (this.#conflicts === null || conflicts < this.#conflicts) this.#conflicts = conflicts;
    const more = conflicts - this.#conflicts;
    if (more <= 0 || now - this.#toldAt < CONFLICTS_MS) return;
    this.#conflicts = conflicts;
    this.#toldAt = now;
    const newest = newestConflict();
    if (newest === null) return;
    const { id, table, key, kind, losingOrigin, winningOrigin } = newest;
    this.#logger.event(
      "conflict",
      `${counted(more, "conflict")}, the newest: ${kind} in ${table} ${key}, ${losingOrigin} lost to ${winningOrigin} (marmot conflicts)`,
      { count: more, id, table, key, conflict: kind, lost: losingOrigin, won: winningOrigin },
    );
  }
}
