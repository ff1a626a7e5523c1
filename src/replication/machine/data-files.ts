/** Replica and log while they are open: in removed files nothing is durable, so their node must not vote or acknowledge. */
import { statSync } from "node:fs";
import { HaltError } from "../../base/halt.ts";
import type { DataPaths } from "./data-paths.ts";

const identityOf = (path: string): string | null => {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.dev}/${stat.ino}`;
};

export class DataFiles {
  readonly #opened: ReadonlyMap<string, string | null>;
  readonly #folder: string;
  readonly #log: string;

  /** Both are open. */
  constructor({ replica, log, folder }: DataPaths) {
    this.#folder = folder;
    this.#log = log;
    this.#opened = new Map([replica, log].map((path) => [path, identityOf(path)]));
  }

  /** Throws `HaltError` where a path does not lead to the open file. */
  check(): void {
    this.#check(this.#opened.keys());
  }

  /** The same for a log that this process had open and opens again: another one lacks votes and entries that it promised. */
  checkLog(): void {
    this.#check([this.#log]);
  }

  #check(paths: Iterable<string>): void {
    for (const path of paths) {
      const opened = this.#opened.get(path);
      const now = identityOf(path);
      if (now === opened) continue;
      const reason = `${path} was ${now === null ? "removed" : "replaced"} while this node had it open: its votes and entries are lost`;
      throw new HaltError({
        name: "log-lost",
        reason,
        hint: `put ${this.#folder} back as it was and start the node again, or stop the node, move ${this.#folder} to another place if it is there, and start it with --peers: it joins as a new member`,
      });
    }
  }
}
