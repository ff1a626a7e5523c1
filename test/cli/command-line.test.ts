/** What holds for all verbs: the file as a word, colours, completions in the shells, the manual page. */
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { completions, SHELLS } from "../../src/cli/completions.ts";
import { takeColor } from "../../src/cli/output/color.ts";
import { VERBS } from "../../src/cli/main.ts";
import { manPage } from "../../src/cli/man-page.ts";
import { marmot } from "./lab.ts";

describe("the file may be the first word", () => {
  for (const verb of ["status", "wait", "verify", "cleanup", "repair", "rejoin"])
    test(verb, async () => {
      const { code, err } = await marmot([verb, "/nowhere/app.db"]);
      expect([verb, code]).toEqual([verb, 1]);
      expect(err).toContain("/nowhere/app.db");
    });
  test("doctor, with the problem of run", async () => {
    const { code, err } = await marmot(["doctor", "/nowhere/app.db"]);
    expect([code, err]).toEqual([1, expect.stringContaining("/nowhere should be a folder")]);
  });
  test("run, with its problems as for --db", async () => {
    const { err } = await marmot(["run", "/nowhere/at/all.db", "--admin", "off"]);
    expect(err).toContain("/nowhere/at should be a folder");
  });
  test("but not beside --db, nor where the word is an action", async () => {
    expect((await marmot(["status", "a.db", "--db", "b.db"])).err).toContain("no more words are expected");
    expect((await marmot(["members", "a.db"])).err).toContain("not by a.db");
    const environment = { MARMOT_DB: "b.db" };
    expect((await marmot(["wait", "a.db"], { environment })).err).toContain("but there is a.db");
  });
});

describe("colours", () => {
  const both = { out: true, err: true };
  const none = { out: false, err: false };
  test("on terminals, unless NO_COLOR is set; --color wins over both", () => {
    const of = (argv: string[], environment = {}, terminals = both): ReturnType<typeof takeColor> =>
      takeColor(argv, environment, terminals);
    expect(of(["status"])).toEqual({ argv: ["status"], colors: both });
    expect(of(["status"], { NO_COLOR: "1" })).toEqual({ argv: ["status"], colors: none });
    expect(of(["status", "--color", "always"], { NO_COLOR: "1" }, none)).toEqual({
      argv: ["status"],
      colors: both,
    });
    expect(of(["--color=never", "status"])).toEqual({ argv: ["status"], colors: none });
    expect(of(["status"], { MARMOT_COLOR: "never" })).toEqual({ argv: ["status"], colors: none });
    expect(of(["x", "--", "--color"]).argv).toEqual(["x", "--", "--color"]);
  });
  test("a wrong word is wrong usage", async () => {
    const { code, err } = await marmot(["version", "--color", "blue"]);
    expect([code, err]).toEqual([
      2,
      "marmot: --color should be auto, always, never, not blue\nhint: for example --color never; or leave it out",
    ]);
  });
  test("an error has them only where they are on", async () => {
    expect((await marmot(["rum", "--color", "always"])).err).toContain("\u001b[31mmarmot:\u001b[0m");
    expect((await marmot(["rum"])).err).not.toContain("\u001b");
  });
});

test("-v prints the version; help explains one option, or all in their groups", async () => {
  expect((await marmot(["-v"])).out).toBe((await marmot(["version"])).out);
  const { out } = await marmot(["help", "run", "--peers"]);
  expect(out).toContain("nodes to join; for example /dns/node-1/tcp/8160; MARMOT_PEERS");
  const all = (await marmot(["help", "run", "all"])).out;
  expect(all).toContain("Fixed when the cluster is formed");
  for (const { name } of VERBS[0]!.options) expect(all).toContain(`  --${name}`);
  expect((await marmot(["help", "run", "merg"])).err).toContain("did you mean merge?");
});

describe("completions", () => {
  test("for another shell are wrong usage", async () => {
    expect((await marmot(["completions", "tcsh"])).code).toBe(2);
  });
  const run = (shell: string, script: string): string[] => {
    const folder = mkdtempSync(join(tmpdir(), "marmot-shell-"));
    try {
      writeFileSync(join(folder, "completion"), completions(shell as "bash", VERBS));
      const done = Bun.spawnSync([shell, "-c", script], { cwd: folder, stderr: "pipe" });
      expect([shell, done.stderr.toString()]).toEqual([shell, ""]);
      return done.stdout
        .toString()
        .split(/\s+/)
        .filter((word) => word !== "");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  for (const shell of SHELLS)
    test.skipIf(Bun.which(shell) === null)(`${shell} accepts its script`, async () => {
      expect((await marmot(["completions", shell])).out).toBe(completions(shell, VERBS).trimEnd());
      const done = Bun.spawnSync([shell, "-n"], {
        stdin: Buffer.from(completions(shell, VERBS)),
        stderr: "pipe",
      });
      expect([shell, done.exitCode, done.stderr.toString()]).toEqual([shell, 0, ""]);
    });
  test.skipIf(Bun.which("bash") === null)("bash completes verbs, options, choices and actions", () => {
    const bash = (words: readonly string[]): string[] =>
      run(
        "bash",
        `. ./completion; COMP_WORDS=(marmot ${words.map((w) => `'${w}'`).join(" ")}); COMP_CWORD=${words.length}; _marmot; printf '%s\\n' "\${COMPREPLY[@]}"`,
      );
    expect(bash(["sta"])).toEqual(["status"]);
    expect(bash(["run", "--log-"])).toEqual(["--log-level", "--log-format"]);
    expect(bash(["run", "--log-format", ""])).toEqual(["text", "json"]);
    expect(bash(["members", "rem"])).toEqual(["remove"]);
    expect(bash(["status", "compl"])).toEqual(["completion"]);
  });
  test.skipIf(Bun.which("fish") === null)("fish completes verbs, options, choices and actions", () => {
    const fish = (line: string): string[] =>
      run("fish", `source ./completion; complete -C '${line}' | string split -f1 \\t`);
    expect(fish("marmot sta")).toEqual(["status"]);
    expect(fish("marmot run --log-")).toEqual(["--log-format", "--log-level"]);
    expect(fish("marmot run --log-format ")).toEqual(["json", "text"]);
    expect(fish("marmot members rem")).toEqual(["remove"]);
  });
  test.skipIf(Bun.which("zsh") === null)("zsh completes verbs and options", () => {
    // A terminal of its own, since zsh completes only where a line is edited.
    const zsh = (line: string): string =>
      run(
        "zsh",
        `zmodload zsh/zpty; zpty z zsh -f -i; zpty -w z "PS1=; autoload -U compinit; compinit -u -D; . ./completion; echo re'ady'"; zpty -r -m z x '*ready*'; zpty -w -n z "${line}"$'\\t'; zpty -r -t z y; zpty -r -m z y '*${line.split(" ").at(-1)}*'; sleep 1; out=$y; while zpty -r -t z y; do out+=$y; done; print -r -- $out; zpty -d z`,
      ).join(" ");
    expect(zsh("marmot stat")).toContain("status");
  });
});

test("the manual page has every verb and option, and no reader of roff complains", () => {
  const page = manPage(VERBS, "1.2.3");
  for (const verb of VERBS) {
    expect(page).toContain(`.SS marmot ${verb.usage}`.replaceAll("-", "\\-"));
    for (const { name } of verb.options) expect(page).toContain(`\\-\\-${name.replaceAll("-", "\\-")}`);
  }
  if (Bun.which("groff") === null) return;
  const done = Bun.spawnSync(["groff", "-man", "-Tutf8", "-ww", "-z"], {
    stdin: Buffer.from(page),
    stderr: "pipe",
  });
  expect([done.exitCode, done.stderr.toString()]).toEqual([0, ""]);
});

describe("documents and words that the contract names", () => {
  test("key show has a fingerprint and JSON, and the fingerprint does not show the key", async () => {
    const { out: key } = await marmot(["key", "generate"]);
    const files = { "cluster.key": `${key}\n` };
    const show = ["key", "show", "--cluster-key", "cluster.key"];
    const { out: fingerprint } = await marmot([...show, "--fingerprint"], { files });
    expect(fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(JSON.parse((await marmot([...show, "--fingerprint", "--json"], { files })).out)).toEqual({
      fingerprints: [fingerprint],
    });
    expect(JSON.parse((await marmot([...show, "--json"], { files })).out)).toEqual({
      keys: [key],
      fingerprints: [fingerprint],
    });
    expect(Object.keys(JSON.parse((await marmot(["key", "generate", "--json"])).out) as object)).toEqual([
      "key",
    ]);
  });

  test("a time that is none is wrong usage, of each verb that takes one", async () => {
    for (const argv of [["diff"], ["undo"], ["changes"], ["conflicts", "list"]]) {
      const { code, err } = await marmot([...argv, "--since", "soon", "--data-dir", "/nowhere"]);
      expect([argv[0], code, err]).toEqual([
        argv[0],
        2,
        expect.stringContaining('such as c:812, not "soon"'),
      ]);
      expect((await marmot([...argv, "--since", "2 hours ago", "--data-dir", "/nowhere"])).code).toBe(1);
    }
  });

  test("members alone lists them, and a timeout has any length", async () => {
    for (const argv of [["members"], ["wait", "--timeout", "400d"], ["status", "--alive"]]) {
      const { code, err } = await marmot([...argv, "--data-dir", "/nowhere"]);
      expect([argv[0], code, err]).toEqual([argv[0], 1, expect.stringContaining("no node runs here")]);
    }
    expect((await marmot(["members", "lst", "--data-dir", "/nowhere"])).code).toBe(2);
  });
});
