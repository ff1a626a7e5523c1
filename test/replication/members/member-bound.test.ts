/** A cluster has at most 64 members, whoever asks for a node that joins. */
import { expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { asPeerId } from "../../../src/base/ids.ts";
import { MemberChanges } from "../../../src/replication/members/member-changes.ts";
import type { Control } from "../../../src/replication/messages/control-messages.ts";
import { silentLogger } from "../../silent-logger.ts";

/** The leader of a cluster with so many members; `admitted` gets the peers that it admits. */
function leader(count: number, admitted: string[]): MemberChanges {
  const members = Array.from({ length: count }, (_, i) => ({
    ...{ id: i + 1, peerId: asPeerId(`p${i + 1}`), name: `n${i + 1}` },
  }));
  const memberOf = (peer: string): unknown => members.find((m) => m.peerId === peer);
  const group = { configuration: { members }, memberOf, raft: { isLeader: true } };
  const admit = ({ peerId }: { peerId: string }): "proposed" => {
    admitted.push(peerId);
    return "proposed";
  };
  return new MemberChanges({
    ...{ runtime: { groups: [group], membership: { admit } } as never, clusterId: "c", self: asPeerId("p1") },
    ...{ transport: { connected: () => [], send: () => true } as never, clock: systemClock },
    ...{ logger: silentLogger, replaceAfterMs: 0 },
  });
}

test.each([
  [63, ["x"]],
  [64, []],
] as const)("with %p members a request and a forwarded one admit %p", (count, expected) => {
  const request = { name: "x", role: "voter", nonce: "ab" } as const;
  const peerId = asPeerId("x");
  const direct: string[] = [];
  const answers: Control[] = [];
  leader(count, direct).onRequest(peerId, { kind: "join", ...request }, (answer) => answers.push(answer));
  expect(direct).toEqual([...expected]);
  const forwarded: string[] = [];
  leader(count, forwarded).onRequest(asPeerId("p2"), { kind: "forward", peerId, ...request }, () => {});
  expect(forwarded).toEqual([...expected]);
  const refusal = { kind: "refused", reason: "the cluster has 64 members already" } as const;
  expect(answers).toEqual(expected.length === 0 ? [refusal] : []);
});
