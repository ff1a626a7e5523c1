/** A case on three processes of the compiled binary. */
import type { VerifyResult } from "../../src/operations/api.ts";
import { TestCluster, until } from "../cluster/lab.ts";
import { makeFile, PlainApplication } from "./application.ts";
import { type Case, NODES, nodesOf } from "./case.ts";
import { type Content, contentOf, differences, wrongSearches } from "./content.ts";
import { functionsOption, withFunctions } from "./functions.ts";
import { expectedOf, wrongAnswers } from "./plain.ts";
import type { Verdict } from "./verdict.ts";

const SHOWN_MS = 30_000;
const BUSY_MS = 20_000;

export async function runReal(given: Case): Promise<Verdict> {
  const it = immediate(given);
  const hasFunctions = it.functions === true;
  // Whether the nodes take the file depends on it.
  const expected = await withFunctions(hasFunctions, () => Promise.resolve(expectedOf(it)));
  if (expected.refused !== null) return { problems: [], refused: expected.refused };
  const { settings } = it;
  const cluster = new TestCluster(NODES, settings.shards);
  cluster.logLevel = "info";
  const applications: PlainApplication[] = [];
  const problems: string[] = [];
  try {
    const [first, ...others] = cluster.nodes;
    makeFile(first!.db, it);
    const functions = hasFunctions ? functionsOption(cluster.folder) : [];
    const shards = settings.shards > 1 ? ["--transactions", settings.transactions] : [];
    await first!.start([
      ...["--merge", settings.merge, "--foreign-keys", settings.foreignKeys],
      ...["--id-block", String(settings.idBlock), ...shards],
      ...functions,
    ]);
    await first!.ready();
    await Promise.all(others.map((node) => node.start(functions).then(() => node.ready())));
    await cluster.voters();
    for (const node of cluster.nodes) applications.push(new PlainApplication(node.db, it, BUSY_MS));
    /** Waits until a node shows the expected contents; reports the differences when the time is over. */
    const shows = async (number: number, content: Content, when: string): Promise<void> => {
      let wrong: string[] = [];
      const equal = (): boolean => {
        wrong = differences(content, contentOf(applications[number]!.db), `n${number} ${when}`);
        return wrong.length === 0;
      };
      await until(equal, "equal", SHOWN_MS).catch(() => void problems.push(...wrong));
    };
    let writer = 0;
    for (const [i, step] of it.steps.entries()) {
      const content = expected.contents[i - 1] ?? expected.first;
      const numbers = nodesOf(step);
      if (step.settled) {
        if (i > 0 && !(await cluster.nodes[writer]!.wait({ all: true })))
          problems.push(`n${writer} waits for ever before step ${i}: ${cluster.nodes[writer]!.log()}`);
        for (const number of numbers) await shows(number, content, `before step ${i}`);
      }
      if (problems.length > 0) break;
      for (const number of numbers) {
        const answers = applications[number]!.run(step);
        problems.push(...wrongAnswers({ step, number: i, node: number }, expected.answers[i]!, answers));
        writer = number;
      }
      if (problems.length > 0) break;
    }
    for (const [number, application] of applications.entries()) {
      if (problems.length > 0) break;
      await shows(number, expected.contents.at(-1) ?? expected.first, "at the end");
      problems.push(...wrongSearches(application.db, it.words, expected.searches, `n${number}`));
      const checked = application.integrity();
      if (checked !== expected.integrity)
        problems.push(`the file of n${number}: ${checked}; plain SQLite: ${expected.integrity}`);
    }
    if (problems.length === 0)
      await Promise.all(
        cluster.nodes.map(async (node) => {
          const { status, text } = await node.http("/api/v1/verify?timeout=30s", "POST");
          const { equal, missing } = JSON.parse(text) as Partial<VerifyResult>;
          if (status !== 200 || equal !== true || missing?.length !== 0)
            problems.push(`verify on ${node.name}: ${text}`);
        }),
      );
    for (const node of cluster.nodes)
      if (node.process?.exitCode !== null) problems.push(`${node.name} stopped by itself: ${node.log()}`);
    return { problems, refused: null };
  } finally {
    for (const application of applications) application.close();
    await cluster.stop();
  }
}

/** A deferred transaction that reads before it writes may find that Marmot wrote in between: SQLITE_BUSY at once. */
const immediate = (it: Case): Case => ({
  ...it,
  steps: it.steps.map((step) => ({
    ...step,
    sql: step.sql.map((text) => (text === "BEGIN" ? "BEGIN IMMEDIATE" : text)),
  })),
});
