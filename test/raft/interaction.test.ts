/** Recorded conversations between members: see script.ts for how to read and record them. */
import { describe, expect, test } from "bun:test";
import { Conversation } from "./conversation.ts";
import { playAll } from "./script.ts";

/** The interaction files of etcd-io/raft, re-expressed; a script of ours more does no harm, one less does. */
const ETCD = [
  "async_storage_writes",
  "async_storage_writes_append_aba_race",
  "campaign",
  "campaign_learner_must_vote",
  "checkquorum",
  "confchange_disable_validation",
  "confchange_v1_add_single",
  "confchange_v1_remove_leader",
  "confchange_v1_remove_leader_stepdown",
  "confchange_v2_add_double_auto",
  "confchange_v2_add_double_implicit",
  "confchange_v2_add_single_auto",
  "confchange_v2_add_single_explicit",
  "confchange_v2_replace_leader",
  "confchange_v2_replace_leader_stepdown",
  "forget_leader",
  "forget_leader_prevote_checkquorum",
  "forget_leader_read_only_lease_based",
  "heartbeat_resp_recovers_from_probing",
  "lagging_commit",
  "prevote",
  "prevote_checkquorum",
  "probe_and_replicate",
  "replicate_pause",
  "single_node",
  "slow_follower_after_compaction",
  "snapshot_succeed_via_app_resp",
  "snapshot_succeed_via_app_resp_behind",
];

describe("interaction", () => {
  const names = playAll("interaction", () => {
    const conversation = new Conversation();
    return (command) => conversation.execute(command);
  });
  test("every file of the folder is run", () => {
    expect(ETCD).toHaveLength(28);
    expect(ETCD.filter((name) => !names.includes(name))).toEqual([]);
  });
});
