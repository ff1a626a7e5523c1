/**
 * An application: a plain SQLite client of the file of one node. It writes, reads and keeps its history. It knows
 * only the admin port of Marmot, for `wait`. Run as another process: bun test/faults/app.ts '<json>'.
 */
import { Database } from "bun:sqlite";
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { Random } from "../../src/base/random.ts";
import {
  ACCOUNTS_PER_NODE,
  countItems,
  HOT_ROWS,
  type Intent,
  type Line,
  now,
  type Reading,
} from "./history.ts";

export interface AppOptions {
  readonly db: string;
  readonly admin: number;
  readonly node: number;
  readonly nodes: number;
  readonly seed: number;
  /** How many processes this node's application was before. */
  readonly session: number;
  readonly history: string;
}

const BUSY_MS = 1000;
const PAUSE_MS = 30;
/** Rows of a table that a reader looks at. */
const NEWEST_ROWS = 50;
/** A list is full, and the next begins. */
const LIST_LENGTH = 150;
/** Every slot a row that two nodes write once each. */
const DUEL_SLOT_MS = 150;

class App {
  readonly #options: AppOptions;
  readonly #random: Random;
  readonly #db: Database;
  #operation: number;
  #duel = -1;
  #list: number;

  constructor(options: AppOptions) {
    this.#options = options;
    this.#random = new Random(options.seed + options.session * 7919);
    this.#db = new Database(options.db, { readwrite: true, create: false });
    this.#db.exec(`PRAGMA busy_timeout = ${BUSY_MS}`);
    this.#operation = options.session * 1_000_000;
    this.#list = options.node * 10_000;
    // Ends a torn line of a killed predecessor.
    if (existsSync(options.history) && !readFileSync(options.history, "utf8").endsWith("\n"))
      appendFileSync(options.history, "\n");
    this.#say({ kind: "start", at: now() });
  }

  #say(line: Line): void {
    appendFileSync(this.#options.history, `${JSON.stringify(line)}\n`);
  }

  #value(): string {
    const { node, session } = this.#options;
    return `n${node}.${session}.${this.#operation}`;
  }

  #row(table: "hot" | "duels", row: number): string | null {
    const found = this.#db.query(`SELECT v FROM ${table} WHERE id = ?`).get(row) as { v: string } | null;
    return found?.v ?? null;
  }

  /** One transaction; the history records its outcome. `body` returns the values that it read before it wrote. */
  #transact(intent: Omit<Intent, "at">, body: () => Reading): void {
    const op = this.#operation++;
    this.#say({ kind: "intent", op, intent: { at: now(), ...intent } });
    let committing = false;
    try {
      this.#db.exec("BEGIN IMMEDIATE");
      const saw = body();
      committing = true;
      this.#db.exec("COMMIT");
      this.#say({ kind: "committed", op, at: now(), saw });
    } catch (error) {
      let rolledBack = !this.#db.inTransaction;
      if (!rolledBack)
        try {
          this.#db.exec("ROLLBACK");
          rolledBack = true;
        } catch {
          rolledBack = false;
        }
      // A COMMIT that failed may have been written: its outcome is unknown.
      if (!committing && rolledBack) this.#say({ kind: "failed", op, error: String(error) });
    }
  }

  hot(): void {
    const first = this.#random.below(HOT_ROWS);
    const rows = this.#random.chance(0.3) ? [first, (first + 1) % HOT_ROWS] : [first];
    const value = this.#value();
    const writes = rows.map((row) => ({ table: "hot" as const, row, value: `${value}/${row}` }));
    this.#transact({ writes, appends: [] }, () => {
      const seen = Object.fromEntries(rows.map((row) => [`hot/${row}`, this.#row("hot", row)]));
      for (const { row, value: v } of writes) this.#db.query("UPDATE hot SET v = ? WHERE id = ?").run(v, row);
      return { rows: seen, lists: {}, total: null };
    });
  }

  /** Both parties write a new row in the same slot of time, mostly before they see each other's. */
  duel(): void {
    const slot = Math.floor(now() / DUEL_SLOT_MS);
    const { node, nodes } = this.#options;
    if (slot === this.#duel || (slot % nodes !== node && (slot + 1) % nodes !== node)) return;
    this.#duel = slot;
    const value = this.#value();
    this.#transact({ writes: [{ table: "duels", row: slot, value }], appends: [] }, () => {
      const seen = this.#row("duels", slot);
      this.#db
        .query("INSERT INTO duels VALUES(?, ?) ON CONFLICT(id) DO UPDATE SET v = excluded.v")
        .run(slot, value);
      return { rows: { [`duels/${slot}`]: seen }, lists: {}, total: null };
    });
  }

  append(): void {
    let items = this.#items(this.#list);
    while (items !== null && countItems(items) >= LIST_LENGTH) items = this.#items(++this.#list);
    const list = this.#list;
    const n = items === null ? 0 : items.split(",").length - 1;
    const id = this.#value();
    this.#transact({ writes: [], appends: [{ list, n, id }] }, () => {
      const before = this.#items(list) ?? "";
      this.#db
        .query("INSERT INTO lists VALUES(?, ?, ?) ON CONFLICT(id) DO UPDATE SET items = excluded.items")
        .run(list, this.#options.node, `${before}${n},`);
      this.#db.query("INSERT INTO elements VALUES(?, ?, ?)").run(id, list, n);
      return { rows: {}, lists: before === "" ? {} : { [list]: countItems(before) }, total: null };
    });
  }

  #items(list: number): string | null {
    const found = this.#db.query("SELECT items FROM lists WHERE id = ?").get(list) as {
      items: string;
    } | null;
    return found?.items ?? null;
  }

  /** Money between own accounts: nodes that move the same account's money at once would overwrite each other. */
  transfer(): void {
    const base = this.#options.node * 1000;
    const from = base + this.#random.below(ACCOUNTS_PER_NODE);
    const to = base + ((from - base + 1 + this.#random.below(ACCOUNTS_PER_NODE - 1)) % ACCOUNTS_PER_NODE);
    const amount = this.#random.between(1, 400);
    this.#transact({ writes: [], appends: [] }, () => {
      this.#db.query("UPDATE accounts SET balance = balance - ? WHERE id = ?").run(amount, from);
      this.#db.query("UPDATE accounts SET balance = balance + ? WHERE id = ?").run(amount, to);
      return { rows: {}, lists: {}, total: null };
    });
  }

  read(): void {
    try {
      const saw = readAll(this.#db, NEWEST_ROWS);
      this.#say({ kind: "read", at: now(), saw });
    } catch {
      return; // busy: nothing was seen
    }
  }

  async wait(all: boolean): Promise<void> {
    const from = now();
    try {
      const url = `http://127.0.0.1:${this.#options.admin}/api/v1/wait?timeout=3s&all=${all}`;
      const { status } = await fetch(url, { method: "POST", signal: AbortSignal.timeout(5000) });
      if (status === 200) this.#say({ kind: "confirmed", from, to: now(), all });
    } catch {
      await Bun.sleep(200); // the node is down
    }
  }

  step(): void {
    this.duel();
    switch (this.#random.below(8)) {
      case 0:
      case 1:
        return this.hot();
      case 2:
      case 3:
        return this.append();
      case 4:
      case 5:
        return this.transfer();
      default:
        return this.read();
    }
  }

  async run(): Promise<void> {
    let stop = false;
    process.on("SIGTERM", () => {
      stop = true;
    });
    const pause = this.#random.fork();
    const waiting = (async () => {
      while (!stop) {
        await this.wait(this.#random.chance(0.2));
        await Bun.sleep(pause.between(20, 300));
      }
    })();
    while (!stop) {
      this.step();
      await Bun.sleep(pause.below(PAUSE_MS));
    }
    await waiting;
    this.#db.close();
  }
}

/** What the checks look at, in one snapshot; `limit`: newest rows of a table. */
export function readAll(db: Database, limit = -1): Reading {
  db.exec("BEGIN");
  try {
    const rows: Record<string, string | null> = {};
    for (const table of ["hot", "duels"])
      for (const [id, v] of db.query(`SELECT id, v FROM ${table} ORDER BY id DESC LIMIT ${limit}`).values())
        rows[`${table}/${String(id)}`] = v as string;
    const lists: Record<string, number> = {};
    for (const [id, items] of db.query("SELECT id, items FROM lists").values())
      lists[String(id)] = countItems(items as string);
    const [[total]] = db.query("SELECT sum(balance) FROM accounts").values() as [[number]];
    return { rows, lists, total: Number(total) };
  } finally {
    db.exec("COMMIT");
  }
}

if (import.meta.main) {
  await new App(JSON.parse(process.argv[2]!) as AppOptions).run();
  process.exit(0);
}
