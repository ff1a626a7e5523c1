/** Dispatch of a message: first by its term, for all roles alike (paper §5.1), then by its type. */
import type { Core } from "./core/core.ts";
import {
  campaign,
  handleVoteRequest,
  handleVoteResponse,
  isTransferVote,
  refuseVote,
} from "./election/election.ts";
import { followLeader, handleAppend, handleHeartbeat, handleSnapshot } from "./replication/follower.ts";
import { handleForwarded } from "./requests/proposals.ts";
import { handleReadIndex, handleReadIndexResponse } from "./requests/reads.ts";
import { handleAppendResponse, handleHeartbeatResponse } from "./replication/replication.ts";
import { becomeFollower } from "./election/roles.ts";
import { handleTransferRequest } from "./election/leader-transfer.ts";
import { type Message, MessageType } from "./model/types.ts";

/**
 * Ignores messages to other members and from this member. Without a sender, only an installed snapshot is accepted.
 */
export function step(core: Core, message: Message): void {
  if (message.to !== core.id || message.from === core.id) return;
  if (message.from === 0) {
    if (message.type === MessageType.snapshot) handleSnapshot(core, message);
    return;
  }
  if (isWithoutTerm(message)) {
    if (message.term === 0) dispatch(core, message);
    return;
  }
  if (message.term < core.term) handleOlderTerm(core, message);
  else if (message.term === core.term || acceptNewerTerm(core, message)) dispatch(core, message);
}

const isWithoutTerm = (message: Message): boolean =>
  message.type === MessageType.propose ||
  message.type === MessageType.transferLeader ||
  message.type === MessageType.readIndex;

const isVoteRequest = (message: Message): boolean =>
  message.type === MessageType.vote || message.type === MessageType.preVote;

const isFromLeader = (message: Message): boolean =>
  message.type === MessageType.append ||
  message.type === MessageType.heartbeat ||
  message.type === MessageType.snapshot;

/** Adopts a newer term. False: the message is ignored, with its term. */
function acceptNewerTerm(core: Core, message: Message): boolean {
  // A member that hears its leader supports no other candidate, unless the leader itself requested the transfer.
  if (isVoteRequest(message) && core.inLease && !isTransferVote(message)) return false;
  // No member has reached the term of a pre-vote: neither the candidate nor the voter that grants it.
  if (message.type === MessageType.preVote) return true;
  if (message.type === MessageType.preVoteResponse && !message.reject) return true;
  becomeFollower(core, message.term, isFromLeader(message) ? message.from : 0);
  return true;
}

/**
 * A request of an older term is refused with the newer term (paper, figure 2: "reply false if term < currentTerm"),
 * or its
 * sender could be stuck. Perhaps only an old leader reaches a member whose term ran ahead and whose vote requests the
 * others
 * ignore. That leader steps down, and the next election includes both. A candidate may never catch up with one that
 * campaigns as often.
 */
function handleOlderTerm(core: Core, message: Message): void {
  if (message.type === MessageType.append || message.type === MessageType.heartbeat) {
    // A rejection, because it makes no claim about logs should the receiver lead this very term by then.
    core.sendAfterPersist({ type: MessageType.appendResponse, to: message.from, reject: true });
  } else if (isVoteRequest(message)) {
    refuseVote(core, message);
  } else if (message.type === MessageType.snapshot) {
    // The installed state is committed in any term, however long the installation took.
    handleSnapshot(core, message);
  }
}

function dispatch(core: Core, message: Message): void {
  if (isFromLeader(message)) {
    if (core.isLeader) return; // One leader per term, and this member is it.
    followLeader(core, message);
  }
  switch (message.type) {
    case MessageType.append:
      return handleAppend(core, message);
    case MessageType.heartbeat:
      return handleHeartbeat(core, message);
    case MessageType.snapshot:
      return handleSnapshot(core, message);
    case MessageType.vote:
    case MessageType.preVote:
      return handleVoteRequest(core, message);
    case MessageType.voteResponse:
    case MessageType.preVoteResponse:
      return handleVoteResponse(core, message);
    case MessageType.appendResponse:
      return handleAppendResponse(core, message);
    case MessageType.heartbeatResponse:
      return handleHeartbeatResponse(core, message);
    case MessageType.propose:
      return handleForwarded(core, message);
    case MessageType.transferLeader:
      return handleTransferRequest(core, message);
    case MessageType.timeoutNow:
      // A transfer's target needs no pre-vote: its leader is alive and has asked for this.
      if (core.role === "follower") campaign(core, "transfer");
      return;
    case MessageType.readIndex:
      return handleReadIndex(core, message);
    case MessageType.readIndexResponse:
      return handleReadIndexResponse(core, message);
  }
}
