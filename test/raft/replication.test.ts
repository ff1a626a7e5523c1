import { expect, test } from "bun:test";
import { Network } from "./harness.ts";
test("smoke", () => {
  for (const preVote of [false, true]) {
    const n = Network.of(3, { preVote, checkQuorum: preVote });
    n.campaign(1);
    expect(n.leaders).toEqual([1]);
    expect(n.propose(1, "a")).toBe("accepted");
    expect(n.propose(2, "b")).toBe("forwarded");
    for (const id of [1, 2, 3]) expect(n.get(id).texts).toEqual(["a", "b"]);
    const one = Network.of(1);
    one.campaign(1);
    one.propose(1, "x");
    expect(one.get(1).texts).toEqual(["x"]);
  }
});
test("throughput", () => {
  const n = Network.of(3);
  n.campaign(1);
  const start = performance.now();
  const data = new Uint8Array(100);
  for (let i = 0; i < 1000; i++) {
    for (let j = 0; j < 100; j++) n.get(1).raft.propose(data);
    n.run();
  }
  console.log(performance.now() - start);
  expect(n.get(3).committed.length).toBe(100001);
});
