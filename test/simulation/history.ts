/**
 * The transactions of the applications, and the check that none is lost. Every write of a surviving transaction is in
 * the final state, or a later transaction read and replaced it, or the journal has it as the loser of a conflict.
 */
import { type Tags, tagsIn, type Transaction } from "./application.ts";

export class History {
  readonly #transactions = new Map<number, Transaction[]>();
  /** Node ⇒ row ⇒ tag of its newest own write; null: it deleted the row. */
  readonly #last = new Map<number, Map<string, string | null>>();
  /** Node ⇒ newest sequence number that `wait` confirmed. */
  readonly #confirmed = new Map<number, number>();
  /** Rows that were seen in several copies. */
  readonly #copied = new Set<string>();

  add(transaction: Transaction): void {
    let list = this.#transactions.get(transaction.node);
    if (list === undefined) this.#transactions.set(transaction.node, (list = []));
    list.push(transaction);
    this.#note(transaction);
  }

  #note({ node, changes }: Transaction): void {
    let last = this.#last.get(node);
    if (last === undefined) this.#last.set(node, (last = new Map()));
    for (const { row, after } of changes) last.set(row, after);
  }

  newest(node: number): number {
    return this.#transactions.get(node)?.at(-1)?.seq ?? 0;
  }

  /** Those that survived, of each node in their order. */
  *transactions(): Iterable<Transaction> {
    for (const list of this.#transactions.values()) yield* list;
  }

  get count(): number {
    let count = 0;
    for (const list of this.#transactions.values()) count += list.length;
    return count;
  }

  /** Everything of the node up to `seq` is ordered by a quorum and applied there. */
  confirm(node: number, seq: number): void {
    this.#confirmed.set(node, Math.max(seq, this.#confirmed.get(node) ?? 0));
  }

  /**
   * A power cut took the transactions of the node after `survived`. Returns the confirmed ones among them as
   * problems.
   */
  lose(node: number, survived: number): string[] {
    const list = this.#transactions.get(node) ?? [];
    const confirmed = this.#confirmed.get(node) ?? 0;
    this.#transactions.set(
      node,
      list.filter((t) => t.seq <= survived),
    );
    this.#last.delete(node);
    for (const transaction of this.#transactions.get(node)!) this.#note(transaction);
    return survived < confirmed && list.some((t) => t.seq > survived && t.seq <= confirmed)
      ? [`n${node} lost confirmed transactions: ${confirmed} was confirmed, ${survived} is left`]
      : [];
  }

  /**
   * An own newer write that an own older one replaced in the file of the node. Rows that had several copies are left
   * out: the older write may be in another copy. `isSentAgain`: another node sent the write "row=tag" again.
   */
  steppedBack(node: number, shown: Tags, isSentAgain: (write: string) => boolean = () => false): string[] {
    const last = this.#last.get(node);
    const wrong: string[] = [];
    for (const [row, tag] of shown) {
      if (tagsIn(tag).length > 1) this.#copied.add(row);
      if (this.#copied.has(row) || !tag.startsWith(`${node}.`)) continue;
      const own = last?.get(row);
      if (own !== undefined && own !== tag && !isSentAgain(`${row}=${tag}`))
        wrong.push(`n${node} shows its older write ${tag} in ${row}, its newest is ${own ?? "a delete"}`);
    }
    return wrong;
  }

  /** `journalled`: "row=tag" of losing images. */
  unaccounted(final: Tags, journalled: ReadonlySet<string>): string[] {
    const seenOver = new Set<string>();
    for (const list of this.#transactions.values())
      for (const { changes } of list)
        for (const { row, before } of changes) if (before !== null) seenOver.add(`${row}=${before}`);
    const wrong: string[] = [];
    for (const list of this.#transactions.values())
      for (const { node, seq, changes } of list)
        for (const { row, after } of changes) {
          if (after === null || tagsIn(final.get(row)).includes(after)) continue;
          const write = `${row}=${after}`;
          if (!seenOver.has(write) && !journalled.has(write))
            wrong.push(`write ${write} of n${node} (transaction ${seq}) is gone without a trace`);
        }
    return wrong;
  }

  /** Rows with this prefix that only one node wrote, with the last tag; null: it deleted the row. */
  *untouched(prefix: string): Iterable<[row: string, tag: string | null]> {
    const writers = new Map<string, Set<number>>();
    for (const list of this.#transactions.values())
      for (const { node, changes } of list)
        for (const { row } of changes)
          if (row.startsWith(prefix)) writers.set(row, (writers.get(row) ?? new Set<number>()).add(node));
    for (const [row, nodes] of writers)
      if (nodes.size === 1) yield [row, this.#last.get([...nodes][0]!)!.get(row)!];
  }

  /** The transactions that changed the row, with the tag that each found and left. */
  story(row: string): string[] {
    const lines: string[] = [];
    for (const list of this.#transactions.values())
      for (const { node, seq, changes } of list)
        for (const change of changes)
          if (change.row === row)
            lines.push(
              `  n${node} transaction ${seq}: found ${change.before ?? "nothing"}, left ${change.after ?? "nothing"}`,
            );
    return lines;
  }

  /** List id ⇒ items in the order in which its owner appended them. */
  lists(): Map<number, string> {
    const lists = new Map<number, string>();
    for (const list of this.#transactions.values())
      for (const { appended } of list)
        for (const { list: id, item } of appended) lists.set(id, `${lists.get(id) ?? ""}${item},`);
    return lists;
  }
}
