/**
 * Learners of an earlier epoch that follow the recovery of their cluster. They have promised no vote, so the node that began
 * the epoch kept them as members. Such a learner asks it with the last committed entry of each shard. If the log of the node
 * had the same entries when the epoch began, the learner takes over the configurations, and goes on; otherwise it stays halted,
 * since it shows entries that the epoch does not have.
 */
import type { LogIndex, PeerId } from "../../base/ids.ts";
import type { RecordedEpoch } from "../../shard/epochs.ts";
import type { GroupConfiguration, GroupLog } from "../../shard/seams.ts";
import type { Control, Life } from "../messages/control-messages.ts";

export interface FollowersComponents {
  readonly self: PeerId;
  readonly groups: () => readonly {
    readonly log: Pick<GroupLog, "firstIndex" | "term">;
    readonly configuration: GroupConfiguration;
  }[];
  readonly life: () => Life | null;
  /** A learner that cannot follow is no member any more. */
  readonly onRefused: (peer: PeerId) => void;
}

type Follow = Extract<Control, { kind: "follow" }>;

export class Followers {
  readonly #components: FollowersComponents;

  constructor(components: FollowersComponents) {
    this.#components = components;
  }

  answer(peer: PeerId, follow: Follow): Control {
    const { groups, life, onRefused } = this.#components;
    const refusal = this.#refusal(peer, follow);
    if (refusal !== null) {
      if (this.#isOwn) onRefused(peer);
      return { kind: "refused", reason: refusal };
    }
    const own = life();
    return {
      kind: "followed",
      configurations: groups().map(({ configuration }) => copied(configuration)),
      ...(own === null ? {} : { life: own }),
    };
  }

  #refusal(peer: PeerId, { after, ends }: Follow): string | null {
    const all = this.#components.groups();
    const { epochs = [], members } = all[0]!.configuration;
    if (!this.#isOwn) return "another node began the newest epoch";
    const first = firstAfter(epochs, after);
    if (first === undefined) return "it is of an epoch that is not known any more";
    const agrees = all.every(({ log }, shard) => hasEntry(log, first, shard, ends[shard]));
    if (!agrees || ends.length !== all.length) return "it has entries that the newest epoch lacks";
    return members.some(({ peerId }) => peerId === peer) ? null : "it is no member of the newest epoch";
  }

  /** This node began the newest epoch. */
  get #isOwn(): boolean {
    const { self, groups } = this.#components;
    return groups()[0]!.configuration.epochs?.at(-1)?.by === self;
  }
}

/** The epoch that follows the last one of the learner. A list that was cut does not begin with the first epoch. */
function firstAfter(epochs: readonly RecordedEpoch[], after: string): RecordedEpoch | undefined {
  if (after === "") return epochs[0]?.number === 1 ? epochs[0] : undefined;
  const at = epochs.findIndex(({ id }) => id === after);
  return at === -1 ? undefined : epochs[at + 1];
}

/** The entry is in the part of the log that is from before the epoch. */
function hasEntry(
  log: Pick<GroupLog, "firstIndex" | "term">,
  { ends, committed }: Pick<RecordedEpoch, "ends" | "committed">,
  shard: number,
  entry: readonly [index: LogIndex, term: number] | undefined,
): boolean {
  const end = ends?.[shard];
  const known = committed?.[shard];
  if (entry === undefined || end === undefined || known === undefined) return false;
  const [index, term] = entry;
  // Entries that both knew to be committed are the same.
  if (index <= known) return true;
  return index <= end && index >= log.firstIndex() - 1 && log.term(index) === term;
}

/** As plain data: what is read from disk may be shared. */
const copied = (
  configuration: GroupConfiguration,
): Extract<Control, { kind: "followed" }>["configurations"][number] =>
  structuredClone(configuration) as Extract<Control, { kind: "followed" }>["configurations"][number];
