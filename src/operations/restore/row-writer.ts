/** The application's file as a restoration writes it: like an application, inside one open transaction. */
import type { DatabaseSync } from "node:sqlite";
import { UserError } from "../../base/errors.ts";
import type { TableShape } from "../../change/shape.ts";
import type { Image, Value } from "../../change/value.ts";
import { RowAccess } from "../../rows/row-access.ts";
import type { Member } from "../../replication/replicator.ts";
import { sqlLiteral } from "../verify/verify.ts";

/** Characters of a value in a message. */
const SHOWN = 80;

/** An image for people, long values cut. */
export const literals = (image: Image): string =>
  image
    .map((value: Value) => {
      const text = sqlLiteral(value);
      return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
    })
    .join(", ");

export class RestoreFile {
  readonly member: Member;
  readonly db: DatabaseSync;
  readonly #access = new Map<number, RowAccess>();

  constructor(member: Member, db: DatabaseSync) {
    this.member = member;
    this.db = db;
  }

  accessTo(shape: TableShape): RowAccess {
    let access = this.#access.get(shape.id);
    if (access === undefined) {
      const { encoding } = this.member.replica.replica.settings;
      this.#access.set(shape.id, (access = new RowAccess(this.db, shape, encoding)));
    }
    return access;
  }

  /** Like an application: constraints hold. */
  write(access: RowAccess, image: Image): void {
    const { shape } = access;
    const [clash] = access.clashes(image);
    if (clash !== undefined)
      throw new UserError(
        `the row (${literals(image)}) of ${shape.name} needs a UNIQUE value that the row ${literals(clash)} holds`,
        "change that row's value first, or insert the row by hand with another one",
      );
    try {
      access.upsert(image);
    } catch (error) {
      throw new UserError(
        `the file refuses the row (${literals(image)}) of ${shape.name}: ${error instanceof Error ? error.message : String(error)}`,
        "marmot conflicts show prints the row; write it by hand as the schema wants it",
        { cause: error },
      );
    }
  }
}
