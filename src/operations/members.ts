/** `marmot members`: changes of members, carried out by the leader of group 0, from any node. */
import { randomBytes } from "node:crypto";
import { type Clock, sleep } from "../base/clock.ts";
import { UserError } from "../base/errors.ts";
import type { Control } from "../replication/messages/control-messages.ts";
import { encodeControl } from "../replication/messages/control-messages.ts";
import type { Replicator } from "../replication/replicator.ts";
import { splitReason } from "../shard/cluster-members.ts";
import type { MemberInfo, PeerId, Transport } from "../shard/seams.ts";
import type { MemberAction } from "./api.ts";

const LOOK_MS = 50;
/** Milliseconds between two requests to the leader. */
const ASK_MS = 300;
/** A configuration change needs a majority of the voters. */
const CHANGE_MS = 15_000;
const MAY_TAKE_EFFECT = "it may still take effect";
const NOT_MADE = "it was not made";

export interface MembersComponents {
  /** null: the node halted in the meantime. */
  readonly replicator: () => Replicator | null;
  readonly transport: Transport;
  readonly clock: Clock;
}

/** Resolves when the change is in force. Throws `UserError`. */
export async function changeMember(
  components: MembersComponents,
  action: MemberAction,
  name: string,
  to?: string,
): Promise<void> {
  const replicator = openReplicator(components);
  const { members } = replicator.runtime.groups[0]!.configuration;
  const member = members.find((m) => m.name === name);
  if (member === undefined)
    throw new UserError(
      `there is no member ${name}`,
      `the members are ${members.map((m) => m.name).join(", ")}; marmot members list shows them`,
    );
  if (action === "transfer") await transfer(components, member);
  else await change(components, action, member, to);
}

function openReplicator({ replicator }: MembersComponents): Replicator {
  const open = replicator();
  if (open === null)
    throw new UserError(
      "this node does not replicate now",
      "marmot status shows the reason; ask another node",
    );
  return open;
}

async function change(
  components: MembersComponents,
  action: Exclude<MemberAction, "transfer">,
  { id: member, name, peerId }: MemberInfo,
  to: string | undefined,
): Promise<void> {
  const { clock, transport } = components;
  const id = randomBytes(8).toString("hex");
  const request = { action, member, ...(to === undefined ? {} : { to }) };
  type Answer = Omit<Extract<Control, { kind: "changed" }>, "kind" | "id">;
  const answers: Answer[] = [];
  const end = clock.now() + CHANGE_MS;
  let askedAt = Number.NEGATIVE_INFINITY;
  /** Requests to another leader without an answer. */
  let open = 0;
  let isProposed = false;
  const replicator = openReplicator(components);
  replicator.messages.onChanged = (answer) => {
    if (answer.id !== id) return;
    answers.push(answer);
    open--;
  };
  const isSelf = peerId === replicator.runtime.peerId;
  for (;;) {
    // A node that removes itself is halted when the change takes effect.
    if (action === "remove" && isSelf && components.replicator() === null) return;
    const { runtime, members, loop } = openReplicator(components);
    if (clock.now() - askedAt >= ASK_MS) {
      askedAt = clock.now();
      const [group] = runtime.groups;
      if (group!.raft.isLeader) {
        const outcome = members.change(null, request);
        answers.push({ state: outcome.state, reason: outcome.state === "refused" ? outcome.reason : "" });
        loop.wake();
      } else if (replicator.peers.oldRelease(group!.leaderPeer) !== null)
        throw oldLeader(replicator, group!.leaderPeer);
      else if (group!.leaderPeer !== "") {
        transport.send(group!.leaderPeer, encodeControl({ kind: "change", id, ...request }), "urgent");
        open++;
      }
    }
    for (const { state, reason } of answers.splice(0)) {
      if (state === "done") return;
      if (state === "refused") throw refusal(`${action} of ${name}`, reason);
      isProposed ||= state === "proposed";
    }
    if (clock.now() > end)
      throw noMajority(
        components,
        `${action} of ${name}`,
        isProposed || open > 0 ? MAY_TAKE_EFFECT : NOT_MADE,
      );
    await sleep(clock, LOOK_MS);
  }
}

function refusal(change: string, text: string): UserError {
  const { reason, hint } = splitReason(text);
  return new UserError(`${change} is refused: ${reason}`, hint || "marmot members list shows the members");
}

/** The leader ignores the request. */
function oldLeader({ peers, runtime, options }: Replicator, leader: PeerId): UserError {
  const name = peers.nameOf(leader);
  return new UserError(
    `the leader ${name} runs marmot ${peers.oldRelease(leader)}, which cannot change members`,
    runtime.isVoter(options.peerId)
      ? `update ${name}, or first run marmot members transfer ${options.name}`
      : `update ${name}`,
  );
}

function noMajority(components: MembersComponents, change: string, effect: string): UserError {
  const { runtime } = openReplicator(components);
  const connected = components.transport.connected();
  const { configuration, members } = runtime.groups[0]!.configuration;
  const voters = members.filter((m) => configuration.voters.includes(m.id));
  const silent = voters.filter((m) => m.peerId !== runtime.peerId && !connected.includes(m.peerId));
  return new UserError(
    `${change} was not confirmed by a majority of the ${voters.length} voters in ${CHANGE_MS / 1000} s; ${effect}`,
    silent.length === 0
      ? "marmot status shows the leader; try again"
      : `start ${silent.map((m) => m.name).join(" or ")}; if that is impossible for good, marmot members recover goes on without a majority`,
  );
}

/** Leadership of all shards goes to the member. */
async function transfer(components: MembersComponents, { id, name, peerId }: MemberInfo): Promise<void> {
  const { clock } = components;
  const end = clock.now() + CHANGE_MS;
  for (;;) {
    const { runtime, loop } = openReplicator(components);
    if (!runtime.isVoter(peerId))
      throw new UserError(
        `${name} is no voter, and cannot lead`,
        `marmot members promote ${name} gives it a vote`,
      );
    const others = runtime.groups.filter((group) => group.leaderPeer !== peerId);
    if (others.length === 0) return;
    for (const group of others) group.raft.transferLeader(id);
    loop.wake();
    // With several shards leaders spread again; one of them is enough.
    if (clock.now() > end) {
      if (others.length < runtime.groups.length) return;
      throw noMajority(components, `transfer to ${name}`, MAY_TAKE_EFFECT);
    }
    await sleep(clock, ASK_MS);
  }
}
