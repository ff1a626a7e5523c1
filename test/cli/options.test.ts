/** The parser of options: the source of a value, and each problem. */
import { describe, expect, test } from "bun:test";
import { nearest } from "../../src/cli/options/nearest.ts";
import type { OptionSpec } from "../../src/cli/options/option-value.ts";
import { environmentName, type Parsed, parseOptions } from "../../src/cli/options/options.ts";

const SPECS: readonly OptionSpec[] = [
  { name: "db", type: "text", value: "FILE", help: "the file", required: "data-dir", example: "app.db" },
  { name: "data-dir", type: "text", value: "DIR", help: "the folder" },
  {
    name: "peers",
    type: "list",
    value: "ADDR",
    help: "",
    check: (t) => (t.startsWith("/") ? null : "a multiaddr"),
  },
  { name: "shards", type: "number", value: "N", help: "", minimum: 1, maximum: 64 },
  { name: "timeout", type: "duration", value: "TIME", help: "", maximum: 3_600_000, example: "10s" },
  { name: "role", type: "text", value: "ROLE", help: "", choices: ["voter", "learner"] },
  { name: "watch", type: "flag", help: "" },
  { name: "config", type: "text", value: "FILE", help: "" },
];
const KNOWN = [...SPECS.map((s) => s.name), "once"];

function parse(argv: string[], environment: Record<string, string> = {}, toml?: string): Parsed {
  const readFile = (path: string): string => {
    if (toml === undefined) throw new Error(`ENOENT: ${path}`);
    return toml;
  };
  return parseOptions({ specs: SPECS, words: 1, known: KNOWN }, { argv, environment, readFile });
}

/** Messages of the problems when the required option is given. */
const wrong = (argv: string[], environment: Record<string, string> = {}, toml?: string): string[] =>
  parse(["--db", "a.db", ...argv], environment, toml).problems.map((p) => p.message);

test("a flag wins over the environment, the environment over the file", () => {
  const toml = `shards = 3\npeers = ["/a", "/b"]\ntimeout = "5s"\nwatch = true\nrole = "learner"\n`;
  const environment = {
    MARMOT_SHARDS: "2",
    MARMOT_CONFIG: "m.toml",
    MARMOT_PEERS: "/c,/d",
    MARMOT_DB: "e.db",
  };
  expect(parse(["--shards=1"], environment, toml)).toEqual({
    options: {
      db: "e.db",
      shards: 1,
      peers: ["/c", "/d"],
      timeout: 5000,
      watch: true,
      role: "learner",
      config: "m.toml",
    },
    words: [],
    problems: [],
  });
  expect(parse(["--config", "m.toml", "--db=x"], {}, toml).options.shards).toBe(3);
});

test("an empty variable counts as not given, an empty flag is refused", () => {
  const parsed = parse(["--db", "a.db"], { MARMOT_SHARDS: "", MARMOT_PEERS: "" });
  expect([parsed.options, parsed.problems]).toEqual([{ db: "a.db" }, []]);
  expect(wrong(["--role", ""])).toEqual(['--role should be ROLE, not ""']);
  expect(wrong(["--peers", " , "]).length).toBe(1);
});

describe("spellings", () => {
  const spellings: [string[], Record<string, unknown>][] = [
    [["--shards", "4"], { shards: 4 }],
    [["--shards=4"], { shards: 4 }],
    [["-shards", "4"], { shards: 4 }],
    [["--watch"], { watch: true }],
    [["--watch=false"], { watch: false }],
    [["--peers", "/a,/b", "--peers", "/c, /a"], { peers: ["/a", "/b", "/c"] }],
    [["--data-dir", "-odd"], { "data-dir": "-odd" }],
    [["--data-dir=--odd=1"], { "data-dir": "--odd=1" }],
    [["--timeout", "1.5s"], { timeout: 1500 }],
  ];
  for (const [argv, options] of spellings)
    test(argv.join(" "), () => {
      const parsed = parse(["--db", "a.db", ...argv]);
      expect(parsed.problems).toEqual([]);
      expect(parsed.options).toEqual({ db: "a.db", ...options } as Parsed["options"]);
    });
});

test("words are allowed beside options, and every argument after -- is one", () => {
  expect(parse(["list", "--db", "a.db"]).words).toEqual(["list"]);
  expect(parse(["--db", "a.db", "--", "--watch"])).toMatchObject({ words: ["--watch"], problems: [] });
  expect(wrong(["one", "two", "three"])).toEqual([
    "no more words are expected beside the options, but there is two three",
  ]);
});

describe("a problem names the expected and the given value", () => {
  const cases: [string, string[], Record<string, string>, string][] = [
    ["unknown", ["--colour"], {}, "there is no option --colour"],
    ["misspelt", ["--shard", "3"], {}, "there is no option --shard; did you mean --shards?"],
    ["not a number", ["--shards", "two"], {}, '--shards should be a whole number from 1 to 64, not "two"'],
    ["half a number", ["--shards", "1.5"], {}, '--shards should be a whole number from 1 to 64, not "1.5"'],
    ["too large", ["--shards", "65"], {}, '--shards should be a whole number from 1 to 64, not "65"'],
    ["too small", [], { MARMOT_SHARDS: "0" }, 'MARMOT_SHARDS should be a whole number from 1 to 64, not "0"'],
    [
      "no unit",
      ["--timeout", "10"],
      {},
      '--timeout should be a duration from 0ms to 1h, such as 500ms or 10s, not "10"',
    ],
    [
      "too long",
      ["--timeout", "2h"],
      {},
      '--timeout should be a duration from 0ms to 1h, such as 500ms or 10s, not "2h"',
    ],
    ["no choice", ["--role", "king"], {}, '--role should be voter or learner, not "king"'],
    ["bad item", ["--peers", "/a,b"], {}, '--peers should be a multiaddr, not "b"'],
    ["bad flag", ["--watch=maybe"], {}, '--watch should be true or false, not "maybe"'],
    ["no value", ["--shards"], {}, "--shards should be followed by N, but nothing follows"],
    [
      "no value before another",
      ["--shards", "--watch"],
      {},
      "--shards should be followed by N, but nothing follows",
    ],
    ["twice", ["--shards", "1", "--shards", "2"], {}, "--shards is given twice, as 1 and as 2"],
    [
      "misspelt variable",
      [],
      { MARMOT_SHARD: "3" },
      "there is no option for the variable MARMOT_SHARD; did you mean MARMOT_SHARDS?",
    ],
    ["a byte no path has", ["--data-dir", "a\0b"], {}, '--data-dir should be DIR, not "a\\u0000b"'],
  ];
  for (const [name, argv, environment, message] of cases)
    test(name, () => {
      expect(wrong(argv, environment)).toEqual([message]);
      for (const { hint } of parse(["--db", "a.db", ...argv], environment).problems)
        expect(hint.length).toBeGreaterThan(5);
    });
});

test("all problems are reported together", () => {
  const { problems } = parse(["--shards", "0", "--role=king", "--colour", "red"], { MARMOT_TIMEOUT: "soon" });
  expect(problems.length).toBe(5); // and the missing --db
});

test("a required option is missing, unless its alternative is given or its value is", () => {
  expect(parse([]).problems.map((p) => p.message)).toEqual([
    "--db FILE or --data-dir DIR is needed: which node?",
  ]);
  expect(parse(["--data-dir", "d"]).problems).toEqual([]);
  expect(parse(["--db"]).problems.map((p) => p.message)).toEqual([
    "--db should be followed by FILE, but nothing follows",
  ]);
});

test("the same value given twice is no problem", () => {
  expect(wrong(["--shards", "2", "--shards", "2"])).toEqual([]);
});

test("variables of other verbs and of other programs are ignored", () => {
  expect(
    wrong([], { MARMOT_ONCE: "1", MARMOT_SERVICE_HOST: "10.0.0.1", MARMOT_PORT_8160_TCP: "x", PATH: "/" }),
  ).toEqual([]);
});

describe("the configuration file", () => {
  const from = (toml: string): string[] => wrong(["--config", "m.toml"], {}, toml);
  test("keys of other verbs are ignored, unknown ones refused", () => {
    expect(from("once = true\n")).toEqual([]);
    expect(from("shard = 1\n")).toEqual(["m.toml: there is no option shard; did you mean shards?"]);
    expect(from('config = "other.toml"\n')).toEqual(["m.toml: there is no option config"]);
  });
  test("values of a wrong type are refused", () => {
    expect(from("shards = [1]\n")).toEqual(["shards in the configuration file should be N, not [1]"]);
    expect(from("[role]\na = 1\n")).toEqual(['role in the configuration file should be ROLE, not {"a":1}']);
    expect(from("peers = [1, 2]\n")).toEqual([
      "peers in the configuration file should be a list of texts, not [1,2]",
    ]);
    expect(from('watch = "perhaps"\n').length).toBe(1);
  });
  test("a file that is not TOML and a missing file are refused", () => {
    expect(from("this is not\n")[0]).toStartWith(
      "--config should name a TOML file; m.toml cannot be read as one",
    );
    expect(wrong(["--config", "m.toml"])[0]).toContain("ENOENT");
  });
});

test("the name of a variable, and the nearest name to a misspelt one", () => {
  expect(environmentName("admin-token")).toBe("MARMOT_ADMIN_TOKEN");
  expect(nearest("lisen", ["listen", "peers"])).toBe("listen");
  expect(nearest("xx", ["db"])).toBe(null);
  expect(nearest("colour", ["config", "role"])).toBe(null);
});
