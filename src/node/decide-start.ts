/** The kind of a start, and the refusals that need neither a network nor a write: for `run` and for `doctor`. */
import type { PeerId } from "../base/ids.ts";
import type { DataPaths } from "../replication/machine/data-paths.ts";
import { findClusterKeys, knowsPeers, missingKey } from "./data-dir.ts";
import type { NodeOptions } from "./options.ts";
import { type Start, startKind } from "./startup/check-files.ts";
import { refuseHeldFile } from "./startup/held-file.ts";
import { type NameAndRole, ownMember } from "./startup/own-member.ts";

export interface DecidedStart extends Start {
  /** null: a new cluster makes its key. */
  readonly keys: readonly Uint8Array[] | null;
  /** null: it is no member yet. */
  readonly member: NameAndRole | null;
}

/** `peerId`: "" for a node without a key. Throws `UserError`. */
export function decideStart(options: NodeOptions, paths: DataPaths, peerId: PeerId): DecidedStart {
  const { db, peers, create, bootstrapExpect } = options;
  // A node that was a member knows its peers, also without --peers.
  const hasPeers = peers.length > 0 || knowsPeers(paths) || (bootstrapExpect ?? 1) > 1;
  const start = startKind({ file: db, paths, peerId, hasPeers, create });
  const keys = findClusterKeys(options, paths, hasPeers);
  refuseHeldFile(db, paths.folder);
  if (keys === null && start.kind !== "form") throw missingKey(paths);
  // The file of another node beside this data directory: the inspection of the file names that.
  const isMixed = start.head?.meta != null && start.head.meta.peerId !== peerId;
  const given = isMixed ? { name: null, role: null } : options;
  return { ...start, keys, member: start.kind === "member" ? ownMember(given, paths) : null };
}
