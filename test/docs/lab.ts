/** One node of the compiled binary in a scratch folder, in which the pages' commands run as they are written. */
import { Database } from "bun:sqlite";
import { mkdirSync, mkdtempSync, openSync, closeSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "../../src/cli/free-ports.ts";
import { ROOT } from "./markdown.ts";

const BINARY = join(ROOT, "dist/marmot");
const READY_MS = 30_000;
const LOOK_MS = 25;

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export class Scratch {
  readonly folder = mkdtempSync(join(tmpdir(), "marmot-docs-"));
  #admin = "";
  #environment: Record<string, string> = {};
  #node: Bun.Subprocess | null = null;

  /** Makes `app.db` and starts the node by the command of the quick start, on free ports. */
  async start(command: string): Promise<void> {
    const [port] = await freePorts(1);
    this.#admin = `127.0.0.1:${port}`;
    const programs = join(this.folder, "bin");
    mkdirSync(programs);
    symlinkSync(BINARY, join(programs, "marmot"));
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("MARMOT_"));
    this.#environment = {
      ...(Object.fromEntries(inherited) as Record<string, string>),
      PATH: `${programs}:${process.env.PATH ?? ""}`,
    };
    const db = new Database(join(this.folder, "app.db"));
    db.run("CREATE TABLE note(id TEXT PRIMARY KEY NOT NULL, body TEXT)");
    db.close();
    const log = openSync(join(this.folder, "log"), "a");
    this.#node = Bun.spawn(command.split(" "), {
      cwd: this.folder,
      env: { ...this.#environment, MARMOT_LISTEN: "/ip4/127.0.0.1/tcp/0", MARMOT_ADMIN: this.#admin },
      stdout: log,
      stderr: log,
    });
    closeSync(log);
    const end = performance.now() + READY_MS;
    while (!(await this.#isReady())) {
      if (performance.now() > end || this.#node.exitCode !== null)
        throw new Error(`not ready: ${readFileSync(join(this.folder, "log"), "utf8")}`);
      await Bun.sleep(LOOK_MS);
    }
  }

  async #isReady(): Promise<boolean> {
    try {
      return (await fetch(`http://${this.#admin}/readyz`)).ok;
    } catch {
      return false; // it does not listen yet
    }
  }

  request(method: string, path: string): Promise<Response> {
    return fetch(`http://${this.#admin}${path}`, { method });
  }

  /** As written, but for the admin port, which on this machine may be another node's; curl fails on an HTTP error. */
  run(command: string): Outcome {
    const sql = /^sqlite3 (\S+) "(.*)"$/.exec(command);
    if (sql !== null) return this.#runSql(sql[1]!, sql[2]!);
    const here = command.replaceAll("127.0.0.1:6010", this.#admin).replace(/^curl /, "curl -f ");
    const done = Bun.spawnSync(["bash", "-c", here], {
      cwd: this.folder,
      env: this.#environment,
      stdout: "pipe",
      stderr: "pipe",
    });
    return { code: done.exitCode, out: done.stdout.toString(), err: done.stderr.toString() };
  }

  /** Any driver does; not every machine has the shell of SQLite. */
  #runSql(file: string, sql: string): Outcome {
    const db = new Database(join(this.folder, file));
    try {
      db.run("PRAGMA busy_timeout = 5000");
      db.run(sql);
      return { code: 0, out: "", err: "" };
    } finally {
      db.close();
    }
  }

  async stop(): Promise<void> {
    this.#node?.kill("SIGTERM");
    await this.#node?.exited;
    this.#node = null;
  }

  async remove(): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
