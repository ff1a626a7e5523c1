/**
 * The last life of each peer that this node has met, in log.db. A life is one process of a peer: its newest incarnation,
 * and a random nonce. A peer that comes with an older incarnation was restored from an old copy of its disk.
 */
import type { Database, Statement } from "bun:sqlite";
import { asPeerId, type PeerId } from "../base/ids.ts";
import { integer, readTuples, text } from "../sqlite/typed-rows.ts";

export interface PeerLife {
  readonly incarnation: number;
  readonly nonce: string;
}

/** An older build ignores the table; a log of an older build gets it when it is opened. */
const TABLE = `CREATE TABLE IF NOT EXISTS peer(peer_id TEXT PRIMARY KEY, incarnation INTEGER, nonce TEXT) WITHOUT ROWID`;

export class PeerMemory {
  readonly #lives = new Map<PeerId, PeerLife>();
  readonly #put: Statement;

  constructor(db: Database) {
    db.exec(TABLE);
    const rows = db.prepare("SELECT peer_id, incarnation, nonce FROM peer").values();
    for (const [peer, incarnation, nonce] of readTuples(rows, text, integer, text))
      this.#lives.set(asPeerId(peer), { incarnation, nonce });
    this.#put = db.prepare("INSERT OR REPLACE INTO peer VALUES(?, ?, ?)");
  }

  get(peer: PeerId): PeerLife | null {
    return this.#lives.get(peer) ?? null;
  }

  /** Keeps the life if its incarnation is higher than the known one; on disk when it returns. */
  remember(peer: PeerId, { incarnation, nonce }: PeerLife): void {
    if (incarnation <= (this.#lives.get(peer)?.incarnation ?? 0)) return;
    this.#put.run(peer, incarnation, nonce);
    this.#lives.set(peer, { incarnation, nonce });
  }
}
