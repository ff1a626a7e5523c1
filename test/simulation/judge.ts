/**
 * The checks at the end of a run, when everything is healed and settled, and the story of the rows for which they
 * fail.
 */
import { asPeerId } from "../../src/base/ids.ts";
import { decodeImage } from "../../src/change/codec.ts";
import { keyOfImage } from "../../src/change/key.ts";
import type { TableShape } from "../../src/change/shape.ts";
import { type Image, imageEqual, type Value } from "../../src/change/value.ts";
import type { Tags } from "./application.ts";
import type { Checks } from "./checks.ts";
import { wrongChecksums } from "./checksums.ts";
import { digest } from "./digest.ts";
import { GeneratedJudge, isOrderKnown, isOrderPlain } from "./generated-judge.ts";
import type { History } from "./history.ts";
import type { Order, TakenRow } from "./order.ts";
import type { Plan } from "./plan.ts";
import type { SimNode } from "./sim-node.ts";

/** The state of a run that is checked. */
export interface Judged {
  readonly plan: Plan;
  readonly nodes: readonly SimNode[];
  /** Nodes that belong to the cluster. */
  readonly present: readonly SimNode[];
  readonly checks: Checks;
  readonly history: History;
  readonly order: Order;
}

export class Judge {
  readonly #it: Judged;

  constructor(it: Judged) {
    this.#it = it;
  }

  /** Everything that must hold once the cluster has settled; violations are added to the problems. */
  judge(): void {
    const { problems } = this.#it.checks;
    const present = this.#it.present;
    const [first] = present;
    const { replica, db } = first!.member!.replica;
    const reference = digest(db, replica.shapes.values());
    const final = this.#it.checks.tags(first!);
    for (const node of present) {
      const member = node.member!;
      this.#it.checks.compare(node, member);
      const theirs = digest(member.replica.db, member.replica.replica.shapes.values());
      for (const [table, hash] of theirs)
        if (reference.get(table) !== hash)
          problems.push(`at the end the replicas of ${first!.name} and ${node.name} differ in ${table}`);
      problems.push(...sameTags(first!, final, node, this.#it.checks.tags(node)));
      const { db: appDb } = this.#it.checks.observer(node);
      for (const [name, file] of [
        ["file", appDb],
        ["replica", member.replica.db],
      ] as const) {
        const { generated } = this.#it.plan;
        for (const { integrity_check: said } of file.prepare("PRAGMA integrity_check").all() as {
          integrity_check: string;
        }[])
          // Generated transactions may ignore checks, and columns of two nodes may be merged.
          if (said !== "ok" && !(generated !== undefined && said.startsWith("CHECK constraint failed in")))
            problems.push(`the ${name} of ${node.name}: ${said}`);
      }
    }
    const { generated } = this.#it.plan;
    if (generated === undefined) this.#judgeLists(first!);
    else problems.push(...new GeneratedJudge(this.#it, generated).judge());
    if (generated === undefined || (isOrderPlain(generated) && isOrderKnown(generated, replica.shapes)))
      this.#judgeOrder(first!);
    problems.push(...wrongChecksums(first!.member!.replica));
    const journalled = this.#journalled(first!);
    problems.push(...this.#it.history.unaccounted(final, journalled));
    if (first!.application.keyless) this.#judgeNotes(first!, journalled);
    if (generated === undefined) problems.push(...this.#orderedTwice(replica.shapes));
  }

  /**
   * Rows without a declared key that only their owner wrote exist once with the last tag, or not at all if the owner
   * deleted them.
   */
  #judgeNotes(node: SimNode, journalled: ReadonlySet<string>): void {
    const { db } = this.#it.checks.observer(node);
    const shown = new Map<string, string[]>();
    for (const { uid, tag } of db.prepare("SELECT uid, tag FROM note").all() as {
      uid: string;
      tag: string;
    }[])
      shown.set(`note/${uid}`, [...(shown.get(`note/${uid}`) ?? []), tag]);
    for (const [row, tag] of this.#it.history.untouched("note/")) {
      const tags = shown.get(row) ?? [];
      const right = tag === null ? tags.length === 0 : tags.length === 1 && tags[0] === tag;
      if (!right && !(tags.length === 0 && journalled.has(`${row}=${tag}`)))
        this.#it.checks.problems.push(`${row} is [${tags.join(", ")}], its owner left ${tag ?? "nothing"}`);
    }
  }

  #judgeLists(node: SimNode): void {
    const shown = new Map(
      (
        this.#it.checks.observer(node).db.prepare("SELECT id, items FROM list").all() as {
          id: number;
          items: string;
        }[]
      ).map((r) => [r.id, r.items]),
    );
    for (const [id, items] of this.#it.history.lists())
      if (shown.get(id) !== items)
        this.#it.checks.problems.push(
          `list ${id} is ${shown.get(id)?.slice(-60)}, its owner appended ${items.slice(-60)}`,
        );
  }

  /** A table without UNIQUE constraints holds of each key what the order says last. */
  #judgeOrder(node: SimNode): void {
    const { replica } = node.member!.replica;
    const last = new Map<string, TakenRow>();
    for (const taken of this.#it.order.taken(replica.shapes))
      if (taken.table.uniques.length === 0) last.set(`${taken.table.id}/${taken.row.keyId}`, taken);
    for (const { table, row, shard, index } of last.values()) {
      const held = replica.row(table.id, row.key);
      const same = held === null || row.image === null ? held === row.image : imageEqual(held, row.image);
      if (!same)
        this.#it.checks.problems.push(
          `the replica holds ${String(held)} in ${table.name} ${row.keyId}, ${shard}/${index} of the order says ${String(row.image)}`,
        );
    }
  }

  /** "row=tag" of every image that the journal has as a loser. */
  #journalled(node: SimNode): Set<string> {
    const { replica } = node.member!.replica;
    const out = new Set<string>();
    for (const { table, losingImage } of replica.journal.list(1_000_000)) {
      const shape = replica.shapes.get(table);
      if (losingImage === null || shape === undefined) continue; // a migration dropped it
      const write = writeOf(shape, decodeImage(losingImage));
      if (write !== null) out.add(write);
    }
    return out;
  }

  /**
   * Each own write is ordered at most once. An exception is a node that installed a snapshot over its own replica: it
   * does not know every image between, cannot tell a touched row from a changed one, and sends it.
   */
  #orderedTwice(shapes: ReadonlyMap<number, TableShape>): string[] {
    const seen = new Map<string, string>();
    const wrong: string[] = [];
    const excused = new Set(this.#it.nodes.filter((n) => n.adopted).map((n) => n.peerId));
    for (const { shard, index, origin, table, row } of this.#it.order.taken(shapes)) {
      const write = row.image === null ? null : writeOf(table, row.image);
      if (write === null) continue;
      const before = seen.get(write);
      if (before !== undefined && !excused.has(asPeerId(origin)))
        wrong.push(`${write} is ordered twice, at ${before} and ${shard}/${index}`);
      seen.set(write, `${shard}/${index}`);
    }
    return wrong;
  }

  /** What happened to the rows that the problems name. */
  story(): string[] {
    const rows = new Set(
      this.#it.checks.problems.flatMap((p) => /\b(?:kv|u|w|p|c|note)\/[^\s=,]+/.exec(p)?.[0] ?? []),
    );
    const shapes = this.#it.present.find((n) => n.member !== null)?.member?.replica.replica.shapes;
    const story: string[] = [];
    for (const row of [...rows].slice(0, 5)) {
      story.push(`story of ${row}`, ...this.#it.history.story(row));
      if (shapes === undefined) continue;
      for (const { shard, index, origin, table, row: change, base } of this.#it.order.taken(shapes)) {
        const key = rowOf(table, table.rowidKey && change.image !== null ? [change.image[1]!] : change.key);
        if (key !== row) continue;
        const node = this.#it.nodes.find((n) => n.peerId === origin)?.name;
        const tag = change.image === null ? "a delete" : (writeOf(table, change.image) ?? "an image");
        story.push(`  ${shard}/${index}: ${node} ${tag} after ${base.join(",")}`);
      }
    }
    return story;
  }
}

/** How a row is called in histories: "table/key". */
const rowOf = (table: TableShape, key: readonly Value[]): string =>
  [table.name, ...key.map((v) => asciiLower(String(v)))].join("/");

/** How a write of a tagged table is called in histories: "table/key=tag"; null: of another table, or without a tag. */
export function writeOf(table: TableShape, image: Image): string | null {
  const column = table.columns.findIndex((c) => c.name === (table.name === "kv" ? "v" : "tag"));
  const tag = image[column];
  // A rowid says nothing of a row: its application knows it by its first column.
  const key = table.rowidKey ? [image[1]!] : keyOfImage(table, image);
  return typeof tag === "string" ? `${rowOf(table, key)}=${tag}` : null;
}

/** As SQLite's lower() does it. */
const asciiLower = (text: string): string => text.replace(/[A-Z]/g, (c) => c.toLowerCase());

function sameTags(a: SimNode, left: Tags, b: SimNode, right: Tags): string[] {
  const wrong: string[] = [];
  for (const row of new Set([...left.keys(), ...right.keys()]))
    if (left.get(row) !== right.get(row))
      wrong.push(`at the end ${row} is ${left.get(row)} in ${a.name} and ${right.get(row)} in ${b.name}`);
  return wrong;
}
