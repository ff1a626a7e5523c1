/**
 * The Dockerfile without Docker: its build stage step by step in a folder, with the files that .dockerignore allows; then the
 * entry point, health check, volume and user of the final stage.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const ROOT = join(import.meta.dir, "../..");
const READY_MS = 30_000;

interface Step {
  readonly instruction: string;
  readonly rest: string;
}

/** The stages in order. Each begins with its FROM. */
function stagesOf(dockerfile: string): Step[][] {
  const lines = dockerfile
    .replace(/\\\n/g, " ")
    .split("\n")
    .filter((line) => line.trim() !== "" && !line.startsWith("#"));
  const stages: Step[][] = [];
  for (const line of lines) {
    const [, instruction, rest] = /^(\w+)\s+(.*)$/.exec(line)!;
    if (instruction === "FROM") stages.push([]);
    stages.at(-1)!.push({ instruction: instruction!, rest: rest! });
  }
  return stages;
}

const stages = stagesOf(readFileSync(join(ROOT, "Dockerfile"), "utf8"));
const [build, final] = stages as [Step[], Step[]];
const the = (steps: readonly Step[], instruction: string): string => {
  const found = steps.filter((s) => s.instruction === instruction);
  expect([instruction, found.length]).toEqual([instruction, 1]);
  return found[0]!.rest;
};

/** Paths that .dockerignore allows: the only ones that COPY may use. */
const allowed = readFileSync(join(ROOT, ".dockerignore"), "utf8")
  .split("\n")
  .flatMap((line) => (line.startsWith("!") ? [line.slice(1)] : []));

let image = "";
beforeAll(() => {
  image = mkdtempSync(join(tmpdir(), "marmot-image-"));
});
afterAll(() => rmSync(image, { recursive: true, force: true }));

test("the context has the needed files and no others", () => {
  expect(readFileSync(join(ROOT, ".dockerignore"), "utf8").split("\n")).toContain("*");
  for (const path of allowed) expect([path, existsSync(join(ROOT, path))]).toEqual([path, true]);
});

/** The build stage needs npm. */
const withNpm = test.skipIf(Bun.which("npm") === null);

withNpm(
  "each step of the build stage succeeds, and npm ci gives no warning",
  async () => {
    let workdir = image;
    const environment: Record<string, string> = {};
    for (const { instruction, rest } of build) {
      if (instruction === "FROM") expect(rest).toMatch(/^node:\d+\S* AS build$/);
      else if (instruction === "WORKDIR") mkdirSync((workdir = join(image, rest)), { recursive: true });
      else if (instruction === "ARG") {
        const [name, value] = rest.split("=");
        environment[name!] = value ?? "";
      } else if (instruction === "COPY") {
        const paths = rest.split(/\s+/);
        const target = join(workdir, paths.pop()!);
        for (const path of paths) {
          expect([path, allowed.includes(path)]).toEqual([path, true]);
          cpSync(join(ROOT, path), rest.endsWith("/") ? join(target, path) : target, { recursive: true });
        }
      } else if (instruction === "RUN") {
        const run = Bun.spawn(["sh", "-c", rest], {
          cwd: workdir,
          env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? image, CI: "true", ...environment },
          stdin: "ignore",
          stdout: "pipe",
          stderr: "pipe",
        });
        const [out, err] = await Promise.all([
          new Response(run.stdout).text(),
          new Response(run.stderr).text(),
        ]);
        expect([rest, await run.exited, `${out}${err}`]).toEqual([rest, 0, `${out}${err}`]);
        expect(`${out}${err}`).not.toContain("npm warn");
      } else throw new Error(`${instruction} is not known to this test`);
    }
  },
  300_000,
);

describe("the final stage", () => {
  withNpm("has only the binary, does not run as root, and keeps its data", () => {
    const [flag, from, to] = the(final, "COPY").split(" ");
    expect([flag, to]).toEqual(["--from=build", "/usr/local/bin/marmot"]);
    mkdirSync(dirname(join(image, to!)), { recursive: true });
    cpSync(join(image, from!), join(image, to!));
    expect(the(final, "USER")).toBe("marmot");
    expect(the(final, "RUN")).toContain("useradd --system --uid 10001");
    expect(the(final, "VOLUME")).toBe("/data");
    expect(the(final, "WORKDIR")).toBe("/data");
    expect(the(final, "EXPOSE")).toBe("8160");
  });

  withNpm(
    "its entry point runs a node, and the health check says so: no before, yes when it answers, no after",
    async () => {
      const data = join(image, "data");
      mkdirSync(data);
      const [name, value] = the(final, "ENV").split("=");
      const environment = { [name!]: value!.replace("/data", data) };
      const command = (words: string): string[] => {
        const [program, ...rest] = JSON.parse(words) as string[];
        return [join(image, "usr/local/bin", program!), ...rest];
      };
      const entry = command(the(final, "ENTRYPOINT"));
      const health = command(/ CMD (\[.*\])$/.exec(the(final, "HEALTHCHECK"))![1]!);
      const healthy = (): boolean =>
        Bun.spawnSync(health, { cwd: data, env: environment, stdout: "ignore", stderr: "ignore" })
          .exitCode === 0;
      expect(healthy()).toBe(false);
      const node = Bun.spawn([...entry, ...(JSON.parse(the(final, "CMD")) as string[]), "--create"], {
        cwd: data,
        // Other nodes of this machine have the default ports.
        env: { ...environment, MARMOT_LISTEN: "/ip4/127.0.0.1/tcp/0", MARMOT_ADMIN: "127.0.0.1:0" },
        stdin: "ignore",
        stdout: "ignore",
        stderr: "ignore",
      });
      try {
        const end = performance.now() + READY_MS;
        while (!healthy() && performance.now() < end) await Bun.sleep(50);
        expect(healthy()).toBe(true);
        expect(existsSync(join(data, "app.db"))).toBe(true);
      } finally {
        node.kill("SIGTERM");
        expect(await node.exited).toBe(0);
      }
      expect(healthy()).toBe(false);
    },
  );
});
