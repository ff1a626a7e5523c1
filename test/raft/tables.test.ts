/** Recorded tables: the configuration after a change, the index that acknowledgements commit, the result of votes. */
import { describe, expect, test } from "bun:test";
import { changeConfiguration } from "../../src/raft/membership/membership.ts";
import { quorumIndex, quorumVote } from "../../src/raft/membership/quorum.ts";
import type { Configuration, MemberId } from "../../src/raft/model/types.ts";
import { configuration } from "./harness.ts";
import { type Command, playAll } from "./script.ts";
import { configurationWords, readChange } from "./words.ts";

const FIRST_INDEX = 100;

/** `start v1 l2`, `change v3 r1 explicit at=50`, `leave`: the configuration afterwards. */
function changes(): (command: Command) => readonly string[] {
  let now: Configuration = configuration([]);
  let index = FIRST_INDEX;
  return (command) => {
    const { name, args } = command;
    index = command.number("at", index + 1);
    const change = readChange(args);
    if (name === "start") {
      const of = (letter: string): MemberId[] =>
        args.filter((arg) => arg.startsWith(letter)).map((arg) => Number(arg.slice(1)));
      now = configuration(of("v"), of("l"));
    } else if (name === "change" || name === "leave") {
      const after = changeConfiguration(now, change, index);
      if (after === null) return ["refused"];
      now = after;
    } else throw new Error(`no command is called "${name}"`);
    return [configurationWords(now)];
  };
}

/** One value for each id of both halves, in order. */
function valuesOf(command: Command, key: string): (member: MemberId) => string | undefined {
  const ids = new Set([...command.numbers("voters"), ...command.numbers("outgoing")]);
  const sorted = [...ids].sort((a, b) => a - b);
  const values = (command.option(key) ?? "").split(",");
  if (sorted.length > 0 && values.length !== sorted.length) {
    throw new Error(`expected ${sorted.length} of ${key}, got ${values.length}`);
  }
  return (member) => values[sorted.indexOf(member)];
}

const DECISIONS: Readonly<Record<string, boolean>> = { y: true, n: false };

function quorums(command: Command): readonly string[] {
  const electorate = { voters: command.numbers("voters"), votersOutgoing: command.numbers("outgoing") };
  if (command.name === "committed") {
    const reached = valuesOf(command, "reached");
    const index = quorumIndex(electorate, (member) => {
      const value = reached(member);
      return value === "_" ? 0 : Number(value);
    });
    return [index === Infinity ? "everything" : `${index}`];
  }
  if (command.name !== "vote") throw new Error(`no command is called "${command.name}"`);
  const votes = valuesOf(command, "votes");
  return [quorumVote(electorate, (member) => DECISIONS[votes(member) ?? "_"])];
}

describe("confchange", () => {
  const names = playAll("confchange", changes);
  test("every file of the folder is run", () => {
    const safety = ["joint_safety", "simple_idempotency", "simple_promote_demote", "simple_safety"];
    const joint = ["joint_autoleave", "joint_idempotency", "joint_learners_next"];
    expect(names).toEqual([...joint, ...safety, "update", "zero"]);
  });
});

describe("quorum", () => {
  const names = playAll("quorum", () => quorums);
  test("every file of the folder is run", () =>
    expect(names).toEqual(["joint_commit", "joint_vote", "majority_commit", "majority_vote"]));
});
