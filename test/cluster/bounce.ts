/**
 * Users whose requests go to another node each time, as a load balancer sends them: a request waits for the position that the one before
 * got, reads the user's row, and writes it again. A row that lacks the last write is a stale read.
 */
import type { Database } from "bun:sqlite";
import { hasReached, parsePosition } from "../../src/base/text/position-token.ts";
import type { WaitResult } from "../../src/operations/api.ts";
import { TestCluster, type TestNode } from "./lab.ts";

const SCHEMA = "CREATE TABLE visit(user INTEGER PRIMARY KEY, n INT NOT NULL)";
const SHOWN = "SELECT value FROM __marmot__status WHERE item = 'node' AND name = 'position'";

export interface Bounced {
  readonly requests: number;
  readonly stale: readonly string[];
  /** Requests whose file did not show the position yet. */
  readonly waited: number;
  readonly ms: number;
}

interface Server {
  readonly node: TestNode;
  readonly db: Database;
}

async function wait({ admin, name }: TestNode, query: string): Promise<string> {
  const answer = await fetch(`http://127.0.0.1:${admin}/api/v1/wait?timeout=60s${query}`, { method: "POST" });
  const { done, missing, position } = (await answer.json()) as WaitResult;
  if (!done) throw new Error(`${name} waits for ${missing}`);
  return position;
}

const shows = (db: Database, position: string): boolean =>
  hasReached(parsePosition(db.query(SHOWN).values()[0]![0] as string)!, parsePosition(position)!);

export async function bounce(options: {
  readonly requests: number;
  readonly users: number;
  readonly shards: number;
}): Promise<Bounced> {
  const { shards, users } = options;
  const cluster = await TestCluster.start({ shards, schema: SCHEMA, quiet: true });
  const servers: Server[] = cluster.nodes.map((node) => ({ node, db: node.open() }));
  try {
    const stale: string[] = [];
    let requests = 0;
    let waited = 0;
    const start = performance.now();
    const user = async (id: number): Promise<void> => {
      let position: string | null = null;
      let at = id;
      for (let n = 1; requests < options.requests; n++) {
        requests++;
        at = (at + 1 + (n % (servers.length - 1))) % servers.length;
        const { node, db } = servers[at]!;
        if (position !== null && !shows(db, position)) {
          waited++;
          await wait(node, `&position=${position}`);
        }
        const [row] = db.query("SELECT n FROM visit WHERE user = ?").values(id);
        if (Number(row?.[0] ?? 0) !== n - 1)
          stale.push(`user ${id} on ${node.name} reads ${String(row?.[0])} instead of ${n - 1}`);
        db.query("INSERT OR REPLACE INTO visit VALUES(?, ?)").run(id, n);
        position = await wait(node, "");
      }
    };
    await Promise.all(Array.from({ length: users }, (_, id) => user(id)));
    return { requests, stale, waited, ms: Math.round(performance.now() - start) };
  } finally {
    for (const { db } of servers) db.close();
    await cluster.stop();
  }
}
