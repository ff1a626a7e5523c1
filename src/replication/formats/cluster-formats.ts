/**
 * The versions of formats that this node may write now. Log entries and copies are read by all members, so the newest
 * version that each member reads is written. A member tells its versions in its hello; log.db keeps them for the time in
 * which it is not connected. A member that this node has never met counts as one of release 0.1.0.
 */
import {
  FORMAT_NAMES,
  type FormatName,
  FORMATS,
  OLDEST_FORMATS,
  type FormatRanges,
} from "../../base/versions/formats.ts";
import type { PeerId } from "../../base/ids.ts";
import type { MemberInfo } from "../../shard/seams.ts";

export interface ClusterFormatsComponents {
  readonly self: PeerId;
  /** Of the newest applied configuration. */
  readonly members: () => readonly Pick<MemberInfo, "peerId" | "name">[];
  /** null: the peer was never met. */
  readonly known: (peer: PeerId) => FormatRanges | null;
}

export interface HeldFormat {
  readonly name: FormatName;
  /** The version that is written now, and the newest one of this build. */
  readonly writes: number;
  readonly newest: number;
  /** Names of the members that do not read the newest one. */
  readonly heldBackBy: readonly string[];
}

export class ClusterFormats {
  readonly #components: ClusterFormatsComponents;

  constructor(components: ClusterFormatsComponents) {
    this.#components = components;
  }

  #newestOf(name: FormatName, peer: PeerId): number {
    const { self, known } = this.#components;
    return peer === self ? FORMATS[name].max : (known(peer) ?? OLDEST_FORMATS)[name].max;
  }

  /** The newest version that this build and each member read. */
  mayWrite(name: FormatName): number {
    const newest = this.#components.members().map(({ peerId }) => this.#newestOf(name, peerId));
    return Math.max(FORMATS[name].min, Math.min(FORMATS[name].max, ...newest));
  }

  /** Names of the members that do not read the version. */
  heldBackBy(name: FormatName, version: number = FORMATS[name].max): string[] {
    return this.#components
      .members()
      .filter(({ peerId }) => this.#newestOf(name, peerId) < version)
      .map((member) => member.name);
  }

  /** The formats of which an older version than the newest is written. */
  held(): HeldFormat[] {
    return FORMAT_NAMES.flatMap((name) => {
      const writes = this.mayWrite(name);
      const newest = FORMATS[name].max;
      return writes === newest ? [] : [{ name, writes, newest, heldBackBy: this.heldBackBy(name) }];
    });
  }
}
