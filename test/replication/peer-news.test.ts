/** Members vouch for members that this node does not know yet. */
import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { asPeerId } from "../../src/base/ids.ts";
import type { NodeNews } from "../../src/replication/messages/control-messages.ts";
import { PeerNews } from "../../src/replication/peer-news.ts";

const OLD = 60_000;

interface Setup {
  readonly news: PeerNews;
  /** Lets time pass. */
  readonly wait: (ms: number) => void;
}

/** This node is p2. `connected`: its peers now. */
function setup({
  voters,
  connected,
}: {
  readonly voters: readonly number[];
  readonly connected: readonly string[];
}): Setup {
  let now = 0;
  const configuration = {
    configuration: { voters, learners: [] },
    members: [1, 2, 3].map((id) => ({ id, peerId: asPeerId(`p${id}`), name: `n${id}` })),
  };
  const memberOf = (peer: string): unknown => configuration.members.find((m) => m.peerId === peer);
  const runtime = { groups: [{ configuration, memberOf, raft: { commit: 0 } }] };
  const news = new PeerNews({
    self: asPeerId("p2"),
    transport: { connected: () => connected.map(asPeerId), announced: () => [] } as never,
    router: { hellos: new Map() } as never,
    clock: { ...systemClock, now: () => now },
    runtime: () => runtime as never,
  });
  return {
    news,
    wait: (ms) => {
      now += ms;
    },
  };
}

const told = (members: readonly [number, string][] | undefined, leaders?: readonly number[]): never =>
  ({
    ...{ name: "n", version: "1", ready: true, applied: [], reflected: [], functions: "", waiting: 0 },
    ...{ members, leaders },
  }) as never;

test("a member's word counts for the id and the peer that it names, a stranger's does not", () => {
  const { news } = setup({ voters: [1, 2, 3], connected: ["p1"] });
  expect(news.isVouched(9, asPeerId("p9"))).toBeFalse();
  news.receive(asPeerId("stranger"), told([[9, "p9"]]));
  expect(news.isVouched(9, asPeerId("p9"))).toBeFalse();
  news.receive(asPeerId("p3"), told([[9, "p9"]]));
  expect(news.isVouched(9, asPeerId("p9"))).toBeTrue();
  expect(news.isVouched(9, asPeerId("p8"))).toBeFalse();
  expect(news.isVouched(8, asPeerId("p9"))).toBeFalse();
});

test("members of older builds tell no members, so a peer is believed where all are older", () => {
  const { news } = setup({ voters: [1, 2, 3], connected: ["p1", "p3"] });
  news.receive(asPeerId("p1"), told(undefined));
  expect(news.isVouched(9, asPeerId("p9"))).toBeTrue();
  news.receive(asPeerId("p3"), told([[3, "p3"]]));
  expect(news.isVouched(9, asPeerId("p9"))).toBeFalse();
});

test("without a member in touch for long, all may have been replaced, if they did not need this node for that", () => {
  const replaced = setup({ voters: [1, 2, 3], connected: [] });
  expect(replaced.news.isVouched(9, asPeerId("p9"))).toBeFalse();
  replaced.wait(OLD);
  expect(replaced.news.isVouched(9, asPeerId("p9"))).toBeTrue();

  const inTouch = setup({ voters: [1, 2, 3], connected: ["p3"] });
  inTouch.wait(OLD);
  expect(inTouch.news.isVouched(9, asPeerId("p9"))).toBeFalse();

  for (const voters of [[2], [1, 2]]) {
    const needed = setup({ voters, connected: [] });
    needed.wait(OLD);
    expect(needed.news.isVouched(9, asPeerId("p9"))).toBeFalse();
  }
});

test("a voter's word makes a leader, that of a learner or of the leader itself does not", () => {
  const { news } = setup({ voters: [1, 2], connected: ["p1", "p3"] });
  const leads = (leaders: number[] | undefined): never => told([], leaders);
  expect(news.isLeader(0, 3)).toBeFalse();
  news.receive(asPeerId("p3"), leads([3]));
  news.receive(asPeerId("p1"), leads([1]));
  expect(news.isLeader(0, 3)).toBeFalse();
  news.receive(asPeerId("p1"), leads([3]));
  expect(news.isLeader(0, 3)).toBeTrue();
  expect(news.isLeader(1, 3)).toBeFalse();
  news.receive(asPeerId("p1"), leads(undefined)); // of an older build
  expect(news.isLeader(0, 3)).toBeTrue();
});

test("equal news of a quiet node are told only now and then, other news and those of a busy node at once", () => {
  const { news, wait } = setup({ voters: [1, 2, 3], connected: ["p1"] });
  const own = told(undefined) as NodeNews;
  const sent: string[] = [];
  news.tell = (peer) => void sent.push(peer);
  const tell = (what: NodeNews, isQuiet: boolean): number => {
    sent.length = 0;
    news.tellNews(what, isQuiet);
    return sent.length;
  };
  expect(tell(own, true)).toBe(1);
  wait(1000);
  expect(tell(own, true)).toBe(0);
  expect(tell(own, false)).toBe(1);
  expect(tell({ ...own, ready: false }, true)).toBe(1);
  wait(3000);
  expect(tell({ ...own, ready: false }, true)).toBe(1);
});
