/** An application as its project ships it, with a script that uses it: `migrate`, `fill`, `report` and `check`. */
import type { Command, Installed } from "../packages.ts";

/**
 * `migrate` makes or brings up to date its tables. `fill WHO` writes and prints `{"kept": rows}`. `report` prints the
 * application's view as JSON, with `kept`, the number of all rows written by `fill`. `check` ends with 0 if the application's
 * own check finds nothing wrong.
 */
export type GuestVerb = "migrate" | "fill" | "report" | "check";

export interface Guest {
  readonly name: string;
  readonly title: string;
  /** Brings the packages; says why they are not available. */
  readonly install: () => Promise<Installed>;
  readonly command: (folder: string, verb: GuestVerb, db: string, ...args: readonly string[]) => Command;
  /** "one": ids, counters or paths of this application clash where several nodes write; the first node writes. */
  readonly writers: "all" | "one";
  /** Tables that each node's own triggers keep, left out of replication. */
  readonly local?: readonly string[];
  /** Tables in which those keep their content. */
  readonly shadows?: readonly string[];
  /** More options of every node. */
  readonly options?: readonly string[];
  /** It migrates the file before there is a cluster, since the file itself has marks that do not travel. */
  readonly migrateBefore?: boolean;
  /** The application makes a part of its schema on each node, since it stays there. */
  readonly migrateEverywhere?: boolean;
  /** Conflicts in the journal at the end; 0 where it is absent. */
  readonly conflicts?: "any";
  /** Run on a node after its application wrote past the triggers. */
  readonly afterFill?: readonly string[];
}
