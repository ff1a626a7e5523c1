/** The halt of a node that the members of its cluster refuse. */
import { marmotCommand, type NodePlace } from "../../base/text/commands.ts";
import { shellWord } from "../../base/text/spans.ts";
import { UPDATE_HINT } from "../../base/versions/formats.ts";
import type { EntryError, Halt } from "../../base/halt.ts";
import { readRefusal } from "../../replication/lives/hello-check.ts";
import type { Life } from "../../replication/messages/control-messages.ts";
import type { Stage } from "../../replication/messages/message-router.ts";
import type { PeerId } from "../../shard/seams.ts";

/** The node must become another member: its old member id never votes again. */
export const rejoinHint = (place: NodePlace): string =>
  `stop this node and its applications, run ${marmotCommand("rejoin", place)}, and start it again: it joins as a new member; the old file is kept`;

/** The same where the cluster has no other member: only the file has its rows. */
export const formAgainHint = (place: NodePlace): string =>
  `this node is the whole cluster: stop it, run ${marmotCommand("cleanup", place)}, move ${shellWord(place.folder)} to another place, and start it again: it forms a new cluster from the file`;

/** Other nodes may be able to apply the entry: of a newer version, or with an undamaged replica. */
export const entryHalt = ({ message }: EntryError, place: NodePlace): Halt => ({
  name: "bad-entry",
  reason: message,
  hint: `if other nodes go on, run their version of marmot here, or ${rejoinHint(place)}`,
});

const HINTS = {
  twice: (): string => "stop one of the two; only one machine may run this data directory",
  "went-back": rejoinHint,
  "log-lost": rejoinHint,
  removed: rejoinHint,
  update: (): string => UPDATE_HINT,
} as const;

/** null: the refusal has another cause, and the node goes on trying. `by`: name of the member that refuses. */
export function haltOf(text: string, by: string, place: NodePlace): Halt | null {
  const refusal = readRefusal(text);
  if (refusal === null) return null;
  const { code, reason } = refusal;
  return { name: code, reason: `${reason} (says ${by})`, hint: HINTS[code](place) };
}

/** A halted node shows its life to peers, and does not answer them. */
export const haltedStage = (
  clusterId: string,
  life: Life | null,
  onConnect: (peer: PeerId) => void,
): Stage => ({
  clusterId,
  life: () => life,
  onConnect,
  onDisconnect: () => {},
  onRaft: () => {},
  onControl: () => {},
  async *onTransfer() {
    yield* [];
    throw new Error("this node does not replicate");
  },
});
