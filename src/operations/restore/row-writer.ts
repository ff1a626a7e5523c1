/** Writes rows to the application's file for a restore: as an application does, inside one open transaction. */
import type { DatabaseSync } from "node:sqlite";
import { errorMessage, UserError } from "../../base/errors.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image } from "../../change/value.ts";
import { RowAccess } from "../../rows/row-access.ts";
import type { Replicator } from "../../replication/replicator.ts";
import { showImage } from "../literals.ts";

export class RowWriter {
  readonly replicator: Replicator;
  readonly db: DatabaseSync;
  readonly #access = new Map<number, RowAccess>();

  constructor(replicator: Replicator, db: DatabaseSync) {
    this.replicator = replicator;
    this.db = db;
  }

  accessTo(shape: TableShape): RowAccess {
    let access = this.#access.get(shape.id);
    if (access === undefined) {
      const { encoding } = this.replicator.replica.replica.settings;
      this.#access.set(shape.id, (access = new RowAccess(this.db, shape, encoding)));
    }
    return access;
  }

  /** Constraints apply as they do to the application. */
  write(access: RowAccess, image: Image): void {
    const { shape } = access;
    const [clash] = access.clashes(image);
    if (clash !== undefined)
      throw new UserError(
        `the row (${showImage(image)}) of ${shape.name} needs a UNIQUE value that the row ${showImage(clash)} holds`,
        "change the value in that row first, or insert this row by hand with another value",
      );
    try {
      access.upsert(image);
    } catch (error) {
      throw new UserError(
        `the file refuses the row (${showImage(image)}) of ${shape.name}: ${errorMessage(error)}`,
        "marmot conflicts show prints the row; write it by hand in a form that the schema accepts",
        { cause: error },
      );
    }
  }
}
