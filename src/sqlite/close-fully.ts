/** Closing a connection of `bun:sqlite` at once. */
import type { Database, Statement } from "bun:sqlite";

/**
 * A statement that was not finalized keeps its connection, with the files and locks, until the garbage collector finds it.
 * Notes the statements that are prepared from now on. The result finalizes them and closes the connection.
 */
export function closingFully(db: Database): () => void {
  const statements: Statement[] = [];
  const prepare = db.prepare.bind(db);
  db.prepare = ((sql: string) => {
    const statement = prepare(sql);
    statements.push(statement);
    return statement;
  }) as typeof db.prepare;
  return () => {
    for (const statement of statements.splice(0)) statement.finalize();
    db.close();
  };
}
