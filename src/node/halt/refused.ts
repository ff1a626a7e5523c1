/** The halt of a node that the members of its cluster refuse. */
import { UPDATE_HINT } from "../../base/versions/formats.ts";
import type { EntryError, Halt } from "../../base/halt.ts";
import { readRefusal } from "../../replication/lives/hello-check.ts";
import type { Life } from "../../replication/messages/control-messages.ts";
import type { Stage } from "../../replication/messages/message-router.ts";
import type { PeerId } from "../../shard/seams.ts";

/** The node must become another member: its old member id never votes again. `node`: the options that name it. */
export const rejoinHint = (node: string): string =>
  `stop this node and its applications, run marmot rejoin ${node}, and start it again: it joins as a new member; the old file is kept`;

/** Other nodes may be able to apply the entry: of a newer version, or with an undamaged replica. */
export const entryHalt = ({ message }: EntryError, node: string): Halt => ({
  name: "bad-entry",
  reason: message,
  hint: `if other nodes go on, run their version of marmot here, or ${rejoinHint(node)}`,
});

const HINTS = {
  twice: (): string => "stop one of the two; only one machine may run this data directory",
  "went-back": rejoinHint,
  "log-lost": rejoinHint,
  removed: rejoinHint,
  update: (): string => UPDATE_HINT,
} as const;

/** null: the refusal has another cause, and the node goes on trying. `by`: name of the member that refuses. */
export function haltOf(text: string, by: string, node: string): Halt | null {
  const refusal = readRefusal(text);
  if (refusal === null) return null;
  const { code, reason } = refusal;
  return { name: code, reason: `${reason} (says ${by})`, hint: HINTS[code](node) };
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
