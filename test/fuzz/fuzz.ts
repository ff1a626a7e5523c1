/** Runs hostile inputs against the readers of bytes from outside. */
import { Random } from "../../src/base/random.ts";
import { hostile } from "./mutate.ts";
import * as state from "./state-targets.ts";
import type { MakeTarget } from "./target.ts";
import * as user from "./user-targets.ts";
import * as wire from "./wire-targets.ts";

export const TARGETS: Readonly<Record<string, MakeTarget>> = {
  framing: wire.framing,
  link: wire.link,
  "raft messages": wire.raftMessages,
  "control messages": wire.controlMessages,
  "change codec": wire.changeCodec,
  "schema entries": wire.schemaEntries,
  "configuration changes": wire.configurationChanges,
  "committed entries": state.committedEntries,
  conversations: state.conversations,
  snapshots: state.snapshots,
  "key files": user.keyFiles,
  "admitted lists": user.admittedLists,
  "configuration files": user.configurationFiles,
  "admin API": user.adminApi,
};

export interface Found {
  readonly input: string;
  readonly number: number;
  readonly error: unknown;
}

/** The first input that breaks the rule of the target; null: none of `inputs` does. */
export async function fuzz(make: MakeTarget, seed: number, inputs: number): Promise<Found | null> {
  const random = new Random(seed);
  const target = await make(random.fork());
  try {
    for (let number = 0; number < inputs; number++) {
      const bytes = hostile(target.samples, random);
      try {
        await target.feed(bytes, random);
      } catch (error) {
        return { input: Buffer.from(bytes).toString("hex"), number, error };
      }
    }
    return null;
  } finally {
    target.close?.();
  }
}
