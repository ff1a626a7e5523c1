/** A change of the cluster key while the nodes run: how far it is, and the next step. Pure. */
import type { MemberStatus } from "../operations/api.ts";

type KeyUse = Pick<MemberStatus, "name" | "keys">;

/** "none": all nodes have one key alone; "add": some lack the new one; "remove": some still accept an older one. */
export type RotationStep = "none" | "add" | "remove" | "apart";

export interface Rotation {
  readonly step: RotationStep;
  /** Fingerprint of the new key; null: there is none. */
  readonly newKey: string | null;
  /** Names of the nodes for which the step is still to be done. */
  readonly remaining: readonly string[];
  /** Names of the nodes that dial with an older key. */
  readonly old: readonly string[];
  /** Names of the nodes whose keys are not known. */
  readonly unknown: readonly string[];
}

const names = (members: readonly KeyUse[]): string[] => members.map((m) => m.name);

export function rotationOf(members: readonly KeyUse[]): Rotation {
  const known = members.filter((m) => m.keys.length > 0);
  const unknown = names(members.filter((m) => m.keys.length === 0));
  const all = new Set(known.flatMap((m) => m.keys));
  if (all.size <= 1) return { step: "none", newKey: null, remaining: [], old: [], unknown };
  const newKey = newest(known);
  if (newKey === null) return { step: "apart", newKey, remaining: names(known), old: [], unknown };
  const old = known.filter((m) => m.keys[0] !== newKey);
  if (old.length > 0) return { step: "add", newKey, remaining: names(old), old: names(old), unknown };
  return {
    step: "remove",
    newKey,
    remaining: names(known.filter((m) => m.keys.length > 1)),
    old: [],
    unknown,
  };
}

/** The first key of nodes with several; while they differ, the one that fewer nodes have alone. */
function newest(known: readonly KeyUse[]): string | null {
  const firsts = [...new Set(known.flatMap((m) => (m.keys.length > 1 ? [m.keys[0]!] : [])))];
  const alone = (key: string): number => known.filter((m) => m.keys.length === 1 && m.keys[0] === key).length;
  return firsts.sort((a, b) => alone(a) - alone(b))[0] ?? null;
}

/** The commands of a step, for a node whose keys are in `file`; "": in the environment. */
export function commands(file: string): { readonly add: string; readonly remove: string } {
  if (file === "")
    return {
      add: "the value of MARMOT_CLUSTER_KEY: the new key, a line break, the old key",
      remove: "the value of MARMOT_CLUSTER_KEY: the new key alone",
    };
  const quoted = /^[\w./-]+$/.test(file) ? file : `'${file.replaceAll("'", "'\\''")}'`;
  return {
    add: `cat new.key ${quoted} > both.key && install -m 600 both.key ${quoted}`,
    remove: `install -m 600 new.key ${quoted}`,
  };
}

/** The state in a sentence. */
export function rotationSentence({ step, newKey, remaining, unknown }: Rotation): string {
  const list = remaining.join(", ");
  const more = unknown.length === 0 ? "" : `; not known: ${unknown.join(", ")}`;
  switch (step) {
    case "none":
      return `all nodes use the same key alone${more}`;
    case "add":
      return `step 2 is to be done on ${list}: they still use the old key${more}`;
    case "remove":
      return remaining.length === 0
        ? `all nodes use the key ${newKey} alone${more}`
        : `step 3 is to be done on ${list}: they still accept the old key${more}`;
    case "apart":
      return `${list} have different keys and no common one: give each of them both keys (step 2)${more}`;
  }
}
