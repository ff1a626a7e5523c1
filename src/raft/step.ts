/** Where a message goes: first its term is judged, for all roles alike (paper §5.1), then its type. */
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

/** A message for somebody else, from this member itself or from nobody is not taken, but for installed snapshots. */
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

/** Takes over a newer term. False: the message is to be ignored, its term too. */
function acceptNewerTerm(core: Core, message: Message): boolean {
  // A member that hears its leader helps nobody to replace it, unless the leader itself asks for it.
  if (isVoteRequest(message) && core.inLease && !isTransferVote(message)) return false;
  // The term of a pre-vote is not reached yet: not by who asks, nor by who is granted one.
  if (message.type === MessageType.preVote) return true;
  if (message.type === MessageType.preVoteResponse && !message.reject) return true;
  becomeFollower(core, message.term, isFromLeader(message) ? message.from : 0);
  return true;
}

/**
 * What an older term asks is not done, but who asks is told of the newer one (paper, figure 2: "reply false if term <
 * currentTerm"), or it could be stuck. A leader may be the only one who still reaches a member that went ahead in term
 * alone and whose requests for votes nobody heeds: it steps down and the next election includes both. A candidate may
 * never catch up with one that campaigns as often.
 */
function handleOlderTerm(core: Core, message: Message): void {
  if (message.type === MessageType.append || message.type === MessageType.heartbeat) {
    // A rejection, so that it says nothing of logs should the receiver lead this very term by then.
    core.sendAfterPersist({ type: MessageType.appendResponse, to: message.from, reject: true });
  } else if (isVoteRequest(message)) {
    refuseVote(core, message);
  } else if (message.type === MessageType.snapshot) {
    // The state was installed, however long that took: what it holds is committed in any term.
    handleSnapshot(core, message);
  }
}

function dispatch(core: Core, message: Message): void {
  if (isFromLeader(message)) {
    if (core.isLeader) return; // There is one leader a term, and this is it.
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
