/**
 * An archive: the document `archive.json`, the chain of links, the copies that snapshot links describe, and `head.json`, which says up to
 * which time the chain is known to be complete. Only the chain is decisive.
 */
import * as v from "valibot";
import { UserError } from "../base/errors.ts";
import { showPosition } from "../base/text/position-token.ts";
import { DirStore } from "./stores/dir-store.ts";
import {
  damagedLink,
  decodeLink,
  decodeMerged,
  encodeLink,
  encodeMerged,
  hashOf,
  isDamagedLink,
  type Link,
  linkName,
  type LinkRange,
  type MergedLink,
  mergedName,
  type SnapshotLink,
} from "./chain-link.ts";
import { extentOf, MergedRanges } from "./ranges.ts";
import { openS3 } from "./stores/s3-store.ts";
import { openSeal, type Seal } from "./seal.ts";
import { type ArchiveStore, decodeText, encodeText } from "./stores/store.ts";

/** Version of the document. */
const FORMAT = 1;
const DOCUMENT = "archive.json";
const HEAD = "head.json";
/** Links that are read at the same time. */
const AT_ONCE = 16;

const documentSchema = v.object({
  format: v.number(),
  cluster: v.string(),
  shards: v.number(),
  created: v.string(),
  /** Tells the key by which it is encrypted; "": it is not encrypted. */
  key: v.string(),
});
export type ArchiveDocument = v.InferOutput<typeof documentSchema>;

const headSchema = v.object({
  number: v.number(),
  position: v.string(),
  /** The cluster was at that position until this time, in milliseconds since 1970. */
  until: v.number(),
  node: v.string(),
});
export type ArchiveHead = v.InferOutput<typeof headSchema>;

const markerSchema = v.object({
  number: v.number(),
  data: v.string(),
  at: v.number(),
  positions: v.array(v.number()),
  follow: v.number(),
  bytes: v.number(),
});
/** Where a snapshot is, without a walk over the chain. */
export type SnapshotMarker = v.InferOutput<typeof markerSchema>;

/** A link with its hash: of merged links that of the last one. */
export interface Chained {
  readonly link: Link;
  readonly hash: string;
  /** Bytes in the store. */
  readonly size: number;
}

/** Two nodes can make a snapshot of the same number; one of them gets the link. */
const markerName = ({ number, data }: Pick<SnapshotMarker, "number" | "data">): string =>
  `snapshots/${String(number).padStart(10, "0")}-${data.replace(/^.*\//, "")}`;

/** `given`: DIR or s3://BUCKET/PREFIX. */
export const openStore = (given: string): ArchiveStore =>
  given.startsWith("s3://") ? openS3(given) : new DirStore(given.replace(/(?<=.)\/+$/, ""));

export class Archive {
  readonly store: ArchiveStore;
  readonly seal: Seal;
  readonly document: ArchiveDocument;
  readonly #ranges: MergedRanges;

  private constructor(store: ArchiveStore, seal: Seal, document: ArchiveDocument) {
    this.store = store;
    this.seal = seal;
    this.document = document;
    this.#ranges = new MergedRanges(store);
  }

  /** null: there is none. Throws `UserError` for another key or a newer format. */
  static async open(store: ArchiveStore, seal: Seal): Promise<Archive | null> {
    const bytes = await store.get(DOCUMENT);
    if (bytes === null) return null;
    const document = readDocument(decodeText(bytes), store.shown);
    if (document.key !== seal.check) throw wrongKey(document, seal, store.shown);
    return new Archive(store, seal, document);
  }

  /** Makes the document, or opens what another node has made at the same time. */
  static async create(
    store: ArchiveStore,
    seal: Seal,
    facts: { readonly cluster: string; readonly shards: number; readonly now: number },
  ): Promise<Archive> {
    const { cluster, shards, now } = facts;
    const created = new Date(now).toISOString();
    const document = { format: FORMAT, cluster, shards, created, key: seal.check };
    const made = await store.create(DOCUMENT, encodeText(`${JSON.stringify(document, null, 2)}\n`));
    if (made) return new Archive(store, seal, document);
    const other = await Archive.open(store, seal);
    if (other === null) throw new Error(`${store.shown} refuses a new ${DOCUMENT} and has none`);
    return other;
  }

  get shown(): string {
    return this.store.shown;
  }

  /** Throws `UserError` if its document is gone: what is written now would be of no use. */
  async requirePresent(): Promise<void> {
    if ((await this.store.get(DOCUMENT)) !== null) return;
    throw new UserError(
      `${this.shown} has no ${DOCUMENT} any more`,
      "it begins again by itself; it was removed, or the place is not mounted",
    );
  }

  /** Throws `UserError` unless it is of this cluster. */
  requireCluster(cluster: string): void {
    if (this.document.cluster === cluster) return;
    throw new UserError(
      `${this.shown} is the archive of the cluster ${this.document.cluster}, and this one is ${cluster}`,
      "give --archive a folder or prefix of its own for each cluster",
    );
  }

  async head(): Promise<ArchiveHead | null> {
    const bytes = await this.store.get(HEAD);
    const plain = bytes === null ? null : this.seal.open(bytes, HEAD);
    return plain === null ? null : parsedOr(headSchema, plain);
  }

  async putHead(head: ArchiveHead): Promise<void> {
    await this.store.put(HEAD, this.seal.close(encodeText(JSON.stringify(head)), HEAD));
  }

  /**
   * The link, or the merged ones that have its place; null: there is none of this number. `mayBeMerged`: false: the link is known to be so
   * new that it cannot be.
   */
  async link(number: number, mayBeMerged = true): Promise<Chained | null> {
    const known = this.#ranges.of(number);
    if (known !== null) return this.#merged(known);
    const name = linkName(number);
    const bytes = await this.store.get(name);
    if (bytes !== null) {
      const link = await decodeLink(bytes, { name, number, seal: this.seal, place: this.shown });
      return this.#ofCluster({ link, hash: hashOf(bytes), size: bytes.length }, name);
    }
    if (!mayBeMerged) return null;
    await this.ranges();
    const range = this.#ranges.of(number);
    return range === null ? null : this.#merged(range);
  }

  async #merged(range: LinkRange): Promise<Chained | null> {
    const name = mergedName(range);
    const bytes = await this.store.get(name);
    if (bytes === null) return null;
    const of = { name, number: range.last, seal: this.seal, place: this.shown };
    return this.#ofCluster({ ...(await decodeMerged(bytes, of)), size: bytes.length }, name);
  }

  #ofCluster(chained: Chained, name: string): Chained {
    if (chained.link.cluster === this.document.cluster) return chained;
    throw damagedLink(`${name} of the archive ${this.shown} is of another cluster`);
  }

  /** Merged links, in order. */
  ranges(): Promise<readonly LinkRange[]> {
    return this.#ranges.read();
  }

  /** Nothing is removed. Of two nodes that merge the same links the first one counts. */
  async addMerged(merged: MergedLink): Promise<void> {
    const range = { first: merged.link.first, last: merged.link.number };
    await this.store.create(mergedName(range), await encodeMerged(merged, this.seal));
  }

  /** Adds a link to the chain. null: there is another one of this number. */
  async add(link: Link): Promise<Chained | null> {
    const bytes = await encodeLink(link, this.seal);
    const chained = { link, hash: hashOf(bytes), size: bytes.length };
    if (await this.store.create(linkName(link.number), bytes)) return chained;
    // The answer to the first attempt may have been lost.
    const there = await this.store.get(linkName(link.number));
    return there !== null && hashOf(there) === chained.hash ? chained : null;
  }

  /** Before its link: a marker without one does not count. */
  async addMarker({ number, data, at, positions, follow, bytes }: SnapshotLink): Promise<void> {
    const marker: SnapshotMarker = { number, data, at, positions: [...positions], follow, bytes };
    const name = markerName(marker);
    await this.store.put(name, this.seal.close(encodeText(JSON.stringify(marker)), name));
  }

  /** In the order of the chain. */
  async snapshots(): Promise<SnapshotMarker[]> {
    const names = await this.store.list("snapshots/");
    const all = await Promise.all(names.map((name) => this.#marker(name)));
    return all.filter((marker) => marker !== null);
  }

  /** null: it has no link, or one that is damaged. */
  async #marker(name: string): Promise<SnapshotMarker | null> {
    const bytes = await this.store.get(name);
    const plain = bytes === null ? null : this.seal.open(bytes, name);
    const marker = plain === null ? null : parsedOr(markerSchema, plain);
    if (marker === null) return null;
    try {
      const link = (await this.link(marker.number))?.link;
      return link?.kind === "snapshot" && link.data === marker.data ? marker : null;
    } catch (error) {
      if (isDamagedLink(error)) return null;
      throw error;
    }
  }

  removeMarker(marker: Pick<SnapshotMarker, "number" | "data">): Promise<void> {
    return this.store.remove(markerName(marker));
  }

  /** Numbers of the first and the last link; null: there is none. */
  async extent(): Promise<{ readonly first: number; readonly last: number } | null> {
    return extentOf(this.store, await this.ranges());
  }

  /**
   * The end of the chain. `known`: an earlier one, from which the search goes on. null: there is no link. `isFresh`: `known` was the end a
   * short time ago, so links after it are not merged.
   */
  async tail(known: Chained | null, isFresh = false): Promise<Chained | null> {
    let at = known;
    if (at === null) {
      const extent = await this.extent();
      if (extent === null) return null;
      at = await this.link(extent.last);
    }
    for (;;) {
      if (at === null) throw damagedLink(`the archive ${this.shown} changed while it was read`);
      const next = await this.link(at.link.number + 1, !isFresh);
      if (next === null) return at;
      // A node that slept can have added its link in the place of merged ones.
      if (at === known && next.link.previous !== at.hash && (await this.#isMerged(at)))
        return this.tail(null);
      this.#requireNext(at, next);
      at = next;
    }
  }

  async #isMerged({ link }: Chained): Promise<boolean> {
    await this.ranges();
    return this.#ranges.of(link.number) !== null;
  }

  #requireNext(before: Chained, next: Chained): void {
    // Merged links of two nodes can overlap; their entries tell whether one is missing.
    if (next.link.previous === before.hash || firstOf(next.link) <= before.link.number) return;
    throw damagedLink(
      `${linkName(next.link.number)} of the archive ${this.shown} does not follow ${linkName(before.link.number)}: one of them was changed, or two clusters wrote to it`,
    );
  }

  /** The links from `from` to `last`, in order; each is proved to follow the one before it. Merged ones can begin before `from`. */
  async *walk(from: number, last: number): AsyncGenerator<Chained, void> {
    const ahead: { readonly number: number; readonly end: number; readonly link: Promise<Chained | null> }[] =
      [];
    let asked = from;
    let before: Chained | null = null;
    await this.ranges();
    for (let number = from; number <= last;) {
      while (asked <= last && ahead.length < AT_ONCE) {
        const link = this.link(asked);
        // A failure is met when its turn comes.
        link.catch(() => {});
        const end = this.#ranges.of(asked)?.last ?? asked;
        ahead.push({ number: asked, end, link });
        asked = end + 1;
      }
      const next = ahead.shift()!;
      // It was merged since it was asked for, and has come.
      if (next.end < number) continue;
      const found = await next.link;
      if (found === null)
        throw damagedLink(`${linkName(next.number)} of the archive ${this.shown} is missing`);
      if (before !== null) this.#requireNext(before, found);
      before = found;
      yield found;
      number = found.link.number + 1;
    }
  }
}

/** Number of the first link. */
export const firstOf = (link: Link): number =>
  link.kind === "segment" ? (link.first ?? link.number) : link.number;

function parsedOr<T>(schema: v.GenericSchema<unknown, T>, bytes: Uint8Array): T | null {
  try {
    return v.parse(schema, JSON.parse(decodeText(bytes)));
  } catch {
    return null;
  }
}

function readDocument(text: string, shown: string): ArchiveDocument {
  const given = parsedOr(v.object({ format: v.number() }), encodeText(text));
  if (given !== null && given.format > FORMAT)
    throw new UserError(
      `the archive ${shown} is of format ${given.format}; this build knows formats up to ${FORMAT}`,
      "run the marmot version that wrote it, or a newer one",
    );
  const document = parsedOr(documentSchema, encodeText(text));
  if (document !== null) return document;
  throw new UserError(
    `${shown}/${DOCUMENT} does not describe an archive of marmot`,
    "give a folder or prefix that marmot run --archive wrote to",
  );
}

function wrongKey({ key }: ArchiveDocument, seal: Seal, shown: string): UserError {
  if (key === "")
    return new UserError(`the archive ${shown} is not encrypted, and --archive-key is given`, "leave it out");
  return seal.check === ""
    ? new UserError(`the archive ${shown} is encrypted`, "give its key with --archive-key FILE")
    : new UserError(
        `the archive ${shown} is encrypted with another key`,
        "give the file with its key as --archive-key",
      );
}

/** Throws `UserError` if there is no archive. `given`: DIR or s3://BUCKET/PREFIX. */
export async function openArchive(given: string, keyFile: string | null): Promise<Archive> {
  const seal = await openSeal(keyFile);
  const archive = await Archive.open(openStore(given), seal);
  if (archive !== null) return archive;
  throw new UserError(
    `there is no archive at ${given}`,
    "check the path; marmot run --archive makes one when its node leads",
  );
}

/** `c:812 (2026-11-30T10:00:00.000Z)`. */
export const showPlace = (to: readonly number[], time: number): string =>
  `${showPosition(to)} (${new Date(time).toISOString()})`;
