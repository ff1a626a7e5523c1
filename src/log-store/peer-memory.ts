/**
 * The last life of each peer that this node has met, in log.db. A life is one process of a member: member id, newest
 * incarnation, and a random nonce. A peer that comes with an older life was restored from an old copy of its disk.
 */
import type { MemberId } from "../raft/model/types.ts";
import type { Database, Statement } from "bun:sqlite";
import { asPeerId, type PeerId } from "../base/ids.ts";
import { integer, readTuples, text } from "../sqlite/typed-rows.ts";

export interface PeerLife {
  readonly member: MemberId;
  readonly incarnation: number;
  readonly nonce: string;
}

/** An older build ignores the table; a log of an older build gets it when it is opened. */
const TABLE = `CREATE TABLE IF NOT EXISTS peer(peer_id TEXT PRIMARY KEY, member INTEGER, incarnation INTEGER,
  nonce TEXT) WITHOUT ROWID`;

/** The versions of formats that each member told last. An older build ignores the table. */
const FORMATS_TABLE = `CREATE TABLE IF NOT EXISTS peer_formats(peer_id TEXT PRIMARY KEY, formats TEXT) WITHOUT ROWID`;

/** Member ids rise with each admission of a peer, incarnations with each life of a member. */
export const isLater = (life: Omit<PeerLife, "nonce">, than: Omit<PeerLife, "nonce">): boolean =>
  life.member > than.member || (life.member === than.member && life.incarnation > than.incarnation);

export class PeerMemory {
  readonly #lives = new Map<PeerId, PeerLife>();
  readonly #formats = new Map<PeerId, string>();
  readonly #put: Statement;
  readonly #deleteAll: Statement;
  readonly #putFormats: Statement;

  constructor(db: Database) {
    db.exec(TABLE);
    const rows = db.prepare("SELECT peer_id, member, incarnation, nonce FROM peer").values();
    for (const [peer, member, incarnation, nonce] of readTuples(rows, text, integer, integer, text))
      this.#lives.set(asPeerId(peer), { member, incarnation, nonce });
    this.#put = db.prepare("INSERT OR REPLACE INTO peer VALUES(?, ?, ?, ?)");
    this.#deleteAll = db.prepare("DELETE FROM peer");
    db.exec(FORMATS_TABLE);
    const formats = db.prepare("SELECT peer_id, formats FROM peer_formats").values();
    for (const [peer, told] of readTuples(formats, text, text)) this.#formats.set(asPeerId(peer), told);
    this.#putFormats = db.prepare("INSERT OR REPLACE INTO peer_formats VALUES(?, ?)");
  }

  get(peer: PeerId): PeerLife | null {
    return this.#lives.get(peer) ?? null;
  }

  /** Of all peers. */
  forget(): void {
    this.#lives.clear();
    this.#deleteAll.run();
  }

  /** As `rememberFormats` got it; null: the peer was never met as a member. */
  formats(peer: PeerId): string | null {
    return this.#formats.get(peer) ?? null;
  }

  /** On disk when it returns. */
  rememberFormats(peer: PeerId, formats: string): void {
    if (this.#formats.get(peer) === formats) return;
    this.#putFormats.run(peer, formats);
    this.#formats.set(peer, formats);
  }

  /** Keeps the life if it is later than the known one; on disk when it returns. False: it is not. */
  remember(peer: PeerId, life: PeerLife): boolean {
    const known = this.#lives.get(peer);
    if (known !== undefined && !isLater(life, known)) return false;
    const { member, incarnation, nonce } = life;
    this.#put.run(peer, member, incarnation, nonce);
    this.#lives.set(peer, { member, incarnation, nonce });
    return true;
  }
}
