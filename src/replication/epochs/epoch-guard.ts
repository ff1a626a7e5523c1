/**
 * Whether a peer belongs to the same epoch of the cluster as this node. A peer of an earlier epoch is refused; a later epoch
 * halts this node.
 */
import type { SqliteLogStore } from "../../log-store/sqlite-log-store.ts";
import {
  compareEpochs,
  type Epoch,
  type EpochVerdict,
  type RecordedEpoch,
  signedText,
} from "../../shard/epochs.ts";
import type { ShardRuntime } from "../../shard/runtime.ts";
import type { GroupConfiguration } from "../../shard/seams.ts";
import { isSigned } from "../../transport/identity.ts";
import type { PeerId } from "../../base/ids.ts";
import type { MemberId } from "../../raft/model/types.ts";
import type { Control, Hello } from "../messages/control-messages.ts";

export interface EpochGuardComponents {
  readonly log: Pick<SqliteLogStore, "identity" | "supersede">;
  readonly runtime: ShardRuntime;
  readonly peers: { nameOf(peer: PeerId): string; tellAll(control: Control): void };
  /** A later epoch of the cluster was met, in which this node is no member. It is written down, and told to the peers. */
  readonly onSuperseded: (epochs: readonly Epoch[]) => void;
}

export class EpochGuard {
  readonly #components: EpochGuardComponents;

  constructor(components: EpochGuardComponents) {
    this.#components = components;
  }

  get own(): readonly RecordedEpoch[] {
    return this.#configuration.epochs ?? [];
  }

  get clusterId(): string {
    return this.#components.log.identity.clusterId;
  }

  /** A member before one of the epochs of this node. */
  isFormer(peer: PeerId): boolean {
    return this.own.some(({ former }) => former.includes(peer));
  }

  /** An epoch of this node began without that member. Members that were admitted later have higher ids. */
  isLeftBy(peer: PeerId, member: MemberId): boolean {
    return this.own.some(({ former, starts }) => former.includes(peer) && member < (starts[0] ?? 0));
  }

  get #configuration(): GroupConfiguration {
    return this.#components.runtime.groups[0]!.configuration;
  }

  /** A joining node, a waiting one and an older build name no epochs: the member id tells a former member apart. */
  #compare({ clusterId, epochs }: Pick<Hello, "clusterId" | "epochs">): EpochVerdict {
    if (clusterId === "" || epochs === undefined) return "same";
    return compareEpochs(this.own, epochs, (epoch) => this.#isProven(epoch));
  }

  #isProven(epoch: Epoch): boolean {
    const isKnown =
      this.#configuration.members.some(({ peerId }) => peerId === epoch.by) || this.isFormer(epoch.by);
    return isKnown && isSigned(epoch.by, signedText(this.clusterId, epoch), epoch.signature);
  }

  /** The reason to refuse the peer; null: none. A later epoch halts this node. */
  admit(hello: Pick<Hello, "clusterId" | "epochs">): string | null {
    switch (this.#compare(hello)) {
      case "same":
        return null;
      case "older":
        return `it belongs to an earlier epoch of the cluster, which was recovered without it by ${this.#recoveredBy}: marmot rejoin makes it a new member`;
      case "newer":
        this.#superseded(hello.epochs!);
        return "it belongs to a later epoch of the cluster";
      case "unproven":
        return "it belongs to an epoch of the cluster that no known member began: marmot rejoin on the older of the two makes it a new member";
    }
  }

  #superseded(epochs: readonly Epoch[]): void {
    const { log, peers, onSuperseded } = this.#components;
    log.supersede(epochs);
    peers.tellAll({ kind: "epochs", epochs });
    onSuperseded(epochs);
  }

  isNewer(hello: Hello): boolean {
    return this.#compare(hello) === "newer";
  }

  isOlder(hello: Pick<Hello, "clusterId" | "epochs">): boolean {
    return this.#compare(hello) === "older";
  }

  isUnproven(hello: Hello): boolean {
    return this.#compare(hello) === "unproven";
  }

  get #recoveredBy(): string {
    const by = this.own.at(-1)?.by;
    return by === undefined ? "another node" : this.#components.peers.nameOf(by);
  }
}
