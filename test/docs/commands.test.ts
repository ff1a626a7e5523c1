/** README and docs/ against the product: commands run as written, and everything that the pages name exists. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  bareBun,
  fieldsOf,
  inlineCommands,
  missingOptions,
  proseWords,
  wrongCommand,
  wrongExamples,
  wrongFiles,
  wrongLinks,
  wrongMessages,
  wrongOptions,
  wrongPlans,
  wrongVariables,
} from "./claims.ts";
import { apiRows } from "../../scripts/lib/api-documents.ts";
import { Routes } from "../../src/admin/routes.ts";
import { Scratch } from "./lab.ts";
import { offences, type Schema } from "./schema-check.ts";
import { type Command, commands, fences, type Page, page, pages, ROOT } from "./markdown.ts";

const all = pages();
const written = all.flatMap(commands);

/** Commands that are not run here, each with the reason; their programs, verbs and options are checked all the same. */
const NOT_RUN: readonly (readonly [RegExp, string])[] = [
  [/^(?:npm ci|bun install)\b/, "downloads packages"],
  [/^(?:npm|npx|bun|[A-Z_]+=\S+ )/, "builds, tests or measures for minutes; script and options are checked"],
  [/^docker /, "needs a container engine and its registry"],
  [/^install /, "writes outside of the checkout"],
  [/^marmot run --db app\.db --peers /, "needs another machine"],
  [/^marmot run --db app\.db$/, "is the node in which the others run"],
  [/^marmot status .*--watch/, "runs until it is interrupted"],
  [/^marmot conflicts (?:show|restore|dismiss \d\S*) /, "needs a conflict of that id"],
  [/^marmot members recover/, "needs a lost majority: test/cluster/life-recover.test.ts runs it"],
  [/^marmot members (?!list)/, "needs a cluster of three: test/cluster/members.test.ts runs each"],
  [/^marmot undo .*--origin /, "needs a node of that name: test/cluster/changes.test.ts runs it"],
  [/^marmot restore /, "needs backups of the pages before: test/cluster/backup.test.ts runs each"],
  [/^marmot (?:archive|at) /, "needs an archive: test/cluster/archive.test.ts runs each"],
  [/^marmot changes .*--archive /, "needs an archive: test/cluster/changes-archive.test.ts runs it"],
  [/^marmot rejoin /, "needs a halted node: test/cluster/custody-machine.test.ts runs it"],
];
/** Run last: the node must be stopped. */
const WHEN_STOPPED = /^marmot cleanup /;

const isRun = ({ text }: Command): boolean => !NOT_RUN.some(([pattern]) => pattern.test(text));
const made = (text: string): Page => ({ path: "made.md", text });

describe("the pages name only", () => {
  const checks: readonly (readonly [string, (from: Page) => readonly string[]])[] = [
    ["links and anchors that lead somewhere", wrongLinks],
    ["files that exist", wrongFiles],
    ["kept plans that exist", wrongPlans],
    ["options that exist", wrongOptions],
    ["variables that exist", wrongVariables],
    ["keys of configuration files that exist, and JSON that can be read", wrongExamples],
    ["commands that work after npm ci alone", bareBun],
    ["commands in running text whose verb and options exist", (p) => inlineCommands(p).flatMap(wrongCommand)],
  ];
  for (const [name, check] of checks) test(name, () => expect(all.flatMap(check)).toEqual([]));

  test("commands in fences whose program, script, verb and options exist", () => {
    expect(written.length).toBeGreaterThan(40);
    expect(written.flatMap(wrongCommand)).toEqual([]);
  });

  test("messages that the source says (troubleshooting)", () => {
    expect(wrongMessages(page("docs/troubleshooting.md"))).toEqual([]);
  });

  test("and every option of every verb (configuration)", () => {
    expect(missingOptions(page("docs/configuration.md"))).toEqual([]);
  });

  test("and little enough on the first page", () => {
    expect(proseWords(page("README.md"))).toBeLessThanOrEqual(650);
  });
});

describe("commands run as written", () => {
  const scratch = new Scratch();
  beforeAll(() => scratch.start("marmot run --db app.db"), 60_000);
  afterAll(() => scratch.remove());

  const texts = [...new Set(written.filter(isRun).map(({ text }) => text))];
  const running = texts.filter((text) => !WHEN_STOPPED.test(text));
  for (const text of running)
    test.skipIf(text.startsWith("curl ") && Bun.which("curl") === null)(text, () => {
      const { code, err } = scratch.run(text);
      expect({ code, err: code === 0 ? "" : err }).toEqual({ code: 0, err: "" });
    });

  test("every metric of a node is in the table of metrics, and no other", async () => {
    const named = [...page("docs/metrics.md").text.matchAll(/^\| `((?:marmot|process)_\w+)/gm)].map(
      (m) => m[1]!,
    );
    const given = [
      ...(await (await scratch.request("GET", "/metrics")).text()).matchAll(
        /^# TYPE ((?:marmot|process)_\w+)/gm,
      ),
    ].map((m) => m[1]!);
    expect(named.sort()).toEqual(given.sort());
  });

  test("every path of the HTTP API answers", async () => {
    const rows = page("docs/http-api.md").text.matchAll(/^\| `(GET|POST) (\/\S*)`/gm);
    const paths = [...rows].map((m) => [m[1]!, m[2]!] as const).filter(([, path]) => !path.includes("/ID"));
    expect(paths.length).toBeGreaterThan(7);
    for (const [method, path] of paths)
      // The scratch node's file needs no repair, and it has its majority.
      expect([path, (await scratch.request(method, path)).status]).toEqual([
        path,
        /\/(?:repair|recover|undo)$/.test(path) ? 400 : 200,
      ]);
  });

  test("every field of the status is in the table of the HTTP API", async () => {
    const document: unknown = await (await scratch.request("GET", "/api/v1/status")).json();
    const { text } = page("docs/http-api.md");
    const named = new Set([...text.matchAll(/`([^`\n]+)`/g)].flatMap((m) => m[1]!.split(/[.[\]]+/)));
    expect(fieldsOf(document).filter((field) => !named.has(field))).toEqual([]);
  });

  describe("each JSON document fits its schema", () => {
    const { definitions } = JSON.parse(readFileSync(join(ROOT, "docs/schemas/documents.json"), "utf8")) as {
      definitions: Record<string, Schema>;
    };
    const of = (name: string): Schema => ({ $ref: `#/definitions/${name}` });
    const list = (name: string): Schema => ({ type: "array", items: of(name) });
    for (const [method, path, schema] of [
      ["GET", "/api/v1/status", of("NodeStatus")],
      ["GET", "/api/v1/members", list("MemberStatus")],
      ["GET", "/api/v1/history", of("NodeHistory")],
      ["GET", "/api/v1/tables", list("TableStatus")],
      ["GET", "/api/v1/events", list("NodeEvent")],
      ["GET", "/api/v1/conflicts", list("ConflictSummary")],
      ["POST", "/api/v1/wait", of("WaitResult")],
      ["POST", "/api/v1/verify", of("VerifyResult")],
    ] as const)
      test(path, async () => {
        const document: unknown = await (await scratch.request(method, path)).json();
        expect(offences(document, schema, definitions)).toEqual([]);
      });
    test("marmot doctor --json", () => {
      expect(
        offences(JSON.parse(scratch.run("marmot doctor app.db --json").out), of("Inspection"), definitions),
      ).toEqual([]);
    });
    test("and a document that does not fit is found", () => {
      const found = offences({ done: "yes" }, of("WaitResult"), definitions);
      expect(found).toContain(".done: string, not boolean");
      expect(found).toContain(".missing is missing");
    });
  });

  test("every path of the server is in the table of the HTTP API, and no other", () => {
    const told = apiRows(page("docs/http-api.md").text).map(
      (r) => `${r.method} ${r.path.replace("{id}", ":id")}`,
    );
    // "all" may be given for an id.
    const served = new Routes({ starting: () => "" }).paths.map((path) => path.replace("/all/", "/:id/"));
    expect([...new Set(told)].sort()).toEqual([...new Set(served)].sort());
  });

  test("the demo prints the text of the README", () => {
    // Times and hashes differ from run to run, and so does the order in which nodes answer.
    const plain = (text: string): string[] =>
      text.split("\n").map((line) =>
        line
          .replace(/ {2,}\d+\.\d\d s$|\d[\d,]*$|[0-9a-f]{16}$/g, "")
          .replace(
            /of (\w+, \w+, \w+) are/,
            (_all, names: string) => `of ${names.split(", ").sort().join()} are`,
          )
          .trimEnd(),
      );
    const { code, out } = scratch.run("marmot demo --once");
    expect(code).toBe(0);
    expect(plain(out)).toEqual(plain(fences(page("README.md"), "text")[0]!));
  });

  test("the picture of the demo has the lines of the README's text", () => {
    const picture = readFileSync(join(ROOT, "docs/demo.svg"), "utf8");
    const lines = [...picture.matchAll(/<text id="l\d+"[^>]*>([^<]*)<\/text>/g)].map((m) => m[1]!);
    expect(lines).toEqual([
      "$ marmot demo --once",
      ...fences(page("README.md"), "text")[0]!.trimEnd().split("\n"),
    ]);
    expect(picture.match(/@keyframes l\d+\{/g)).toHaveLength(lines.length);
    expect(picture).not.toMatch(/<script|href|url\(/);
  });

  test("marmot cleanup, once the node is stopped", async () => {
    await scratch.stop();
    const last = texts.filter((text) => WHEN_STOPPED.test(text));
    expect(last).not.toEqual([]);
    for (const text of last) expect(scratch.run(text).code).toBe(0);
  });

  test("each reason for not running a command is still needed", () => {
    for (const [pattern] of NOT_RUN) expect(written.some(({ text }) => pattern.test(text))).toBe(true);
  });
});

describe("a wrong page is found", () => {
  const command = (text: string): readonly string[] =>
    commands(made(`\`\`\`sh\n${text}\n\`\`\`\n`)).flatMap(wrongCommand);

  test("a link to a missing page, and an anchor without a heading", () => {
    expect(wrongLinks(made("[a](docs/faq.md#no-such-heading) [b](docs/none.md) [c](docs/faq.md)"))).toEqual([
      "made.md: docs/faq.md#no-such-heading: there is no such heading",
      "made.md: docs/none.md leads nowhere",
    ]);
  });

  test("a file, an option and a variable that do not exist", () => {
    expect(wrongFiles(made("See `src/raft/none.ts` and `nowhere.ts`."))).toHaveLength(2);
    expect(wrongOptions(made("Give `--no-such-option`."))).toHaveLength(1);
    expect(wrongVariables(made("Set `MARMOT_NO_SUCH`."))).toHaveLength(1);
  });

  test("a configuration file with an unknown key, and broken JSON", () => {
    expect(wrongExamples(made('```toml\nnone = 1\n```\n```json\n{"a":\n```\n'))).toHaveLength(2);
  });

  test("a command with a wrong verb, option, value, script or path", () => {
    expect(command("marmot statsu --db app.db")).toHaveLength(1);
    expect(command("marmot wait --db app.db --shards 2")).toHaveLength(1);
    expect(command("marmot run --db app.db --merge both")).toHaveLength(1);
    expect(command("npm run none && npm test -- test/none")).toHaveLength(2);
    expect(command("npx bun scripts/simulate.ts --none 1")).toHaveLength(1);
    expect(bareBun(made("Run `bun scripts/simulate.ts`."))).toHaveLength(1);
  });

  test("a plan that is not kept", () => {
    expect(wrongPlans(made("| A bug. | `no-such-plan` |\n"))).toHaveLength(1);
  });

  test("a message that no source says", () => {
    expect(wrongMessages(made("### `all is well in …`\n"))).toHaveLength(1);
  });

  test("a command that fails when it runs", () => {
    const scratch = new Scratch();
    try {
      expect(scratch.run("exit 3").code).toBe(3);
    } finally {
      void scratch.remove();
    }
  });
});

test("each of an operator's ten questions has a command that exists", () => {
  const table = page("docs/operations.md").text.split("## Is it healthy?")[0]!;
  const rows = [...table.matchAll(/^\| ([^|]+\?) \| (.+) \|$/gm)];
  expect(rows).toHaveLength(10);
  for (const [, question, answer] of rows)
    expect([
      question,
      inlineCommands(made(answer!)).length > 0,
      inlineCommands(made(answer!)).flatMap(wrongCommand),
    ]).toEqual([question, true, []]);
});

test("llms.txt links to files that exist", () => {
  const text = readFileSync(join(ROOT, "llms.txt"), "utf8");
  const linked = [...text.matchAll(/\]\(([^)]+)\)/g)].map((m) => m[1]!);
  expect(linked.length).toBeGreaterThan(20);
  expect(linked.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
});
