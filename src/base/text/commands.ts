/** Commands in hints: they name the node, so that a shell takes them as they are printed. */
import { resolve } from "node:path";
import { shellWord } from "./spans.ts";

/** Where the files of a node are. */
export interface NodePlace {
  /** The app database. */
  readonly db: string;
  /** The data directory. */
  readonly folder: string;
}

/** The options that name the node: the data directory only where it is not the usual one. */
export const locatorOf = ({ db, folder }: NodePlace): string =>
  resolve(folder) === resolve(`${db}.marmot`)
    ? `--db ${shellWord(db)}`
    : `--db ${shellWord(db)} --data-dir ${shellWord(folder)}`;

export const marmotCommand = (verb: string, place: NodePlace): string => `marmot ${verb} ${locatorOf(place)}`;
