/**
 * All formats that leave the memory of a process, with the versions that this build reads. The newest one is written as soon
 * as each member reads it: `ClusterFormats.mayWrite` answers that. How a format is raised: docs/development.md.
 */
import { HaltError } from "../halt.ts";

export interface FormatRange {
  /** The oldest version that this build reads and can write. */
  readonly min: number;
  /** The newest one. */
  readonly max: number;
}

export const FORMATS = {
  /** Messages between two nodes: frames, Raft messages, control messages. */
  wire: { min: 1, max: 1 },
  /** The header of a copy of the replica. */
  copy: { min: 1, max: 1 },
  /** Batches in the log. 2: entries that change the schema, which alone are written in it. */
  entry: { min: 1, max: 2 },
  /** Changes of the members in the log. 2: with a transition. */
  membership: { min: 1, max: 2 },
  /** The replica, which is also the content of a copy. */
  replica: { min: 1, max: 3 },
  /** Marmot's tables in the app database. */
  appDb: { min: 1, max: 3 },
  /** log.db. */
  log: { min: 1, max: 1 },
} as const satisfies Record<string, FormatRange>;

export type FormatName = keyof typeof FORMATS;
export type FormatRanges = Readonly<Record<FormatName, FormatRange>>;

export const FORMAT_NAMES = Object.keys(FORMATS) as readonly FormatName[];

/** The versions of release 0.1.0, whose hello does not tell them. */
export const OLDEST_FORMATS: FormatRanges = {
  wire: { min: 1, max: 1 },
  copy: { min: 1, max: 1 },
  entry: { min: 1, max: 2 },
  membership: { min: 1, max: 2 },
  replica: { min: 1, max: 3 },
  appDb: { min: 1, max: 3 },
  log: { min: 1, max: 1 },
};

/**
 * Release 0.1.0 refuses a hello with other numbers than its own: wire, entries, copies. They are told as long as this build
 * reads and writes these versions.
 */
export const HELLO_FORMATS = (["wire", "entry", "copy"] as const).map((name) =>
  Math.max(FORMATS[name].min, OLDEST_FORMATS[name].max),
) as [number, number, number];

const LABELS: Readonly<Record<FormatName, string>> = {
  wire: "messages",
  copy: "copies",
  entry: "log entries",
  membership: "changes of members",
  replica: "replicas",
  appDb: "tables of Marmot",
  log: "logs",
};

export const showRange = ({ min, max }: FormatRange): string => (min === max ? `${min}` : `${min} to ${max}`);

/** Formats of which two nodes must have a version in common. */
const BETWEEN_TWO = ["wire", "copy"] as const;

/** The newest formats that a node must read to take part in its cluster; absent: any version will do. */
export type UsedFormats = Readonly<Partial<Record<FormatName, number>>>;

/** older: the one that must be updated. */
export interface FormatClash {
  readonly older: "self" | "peer";
  /** Completes "NAME cannot connect: …". */
  readonly reason: string;
}

/** Why a peer with these formats cannot work with this node, whose cluster uses `used`; null: it can. */
export function formatClash(
  peer: FormatRanges,
  used: UsedFormats,
  own: FormatRanges = FORMATS,
): FormatClash | null {
  for (const name of BETWEEN_TWO) {
    if (peer[name].max < own[name].min)
      return { older: "peer", reason: reads(name, peer[name], own[name].min) };
    if (own[name].max < peer[name].min)
      return { older: "self", reason: reads(name, own[name], peer[name].min) };
  }
  for (const name of FORMAT_NAMES) {
    const version = used[name];
    if (version !== undefined && version > peer[name].max)
      return { older: "peer", reason: reads(name, peer[name], version) };
  }
  return null;
}

const reads = (name: FormatName, range: FormatRange, needed: number): string =>
  `it reads ${LABELS[name]} of format ${showRange(range)}, and format ${needed} is needed`;

/** The name of the halt, with which a refusal of an older node begins. */
export const UPDATE = "update";
export const UPDATE_HINT =
  "update marmot on this machine to the version of the newest node, and start it again";

/** The content is of a format that this build does not know. `subject`: its place, as the beginning of a sentence. */
export function newerFormat(subject: string, name: FormatName, version: unknown, cause?: unknown): HaltError {
  return new HaltError(
    {
      name: UPDATE,
      reason: `${subject} has ${LABELS[name]} of format ${String(version)}, and this build reads format ${showRange(FORMATS[name])}`,
      hint: UPDATE_HINT,
    },
    { cause },
  );
}
