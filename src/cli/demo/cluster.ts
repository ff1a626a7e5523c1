/** The cluster of the demo: three nodes as processes of this program, in a temporary folder. */
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { NodeClient } from "../client.ts";
import type { CliContext } from "../context.ts";
import { freePorts } from "../free-ports.ts";

const NAMES = ["amsterdam", "berlin", "chennai"] as const;
const READY_MS = 60_000;
const LOOK_MS = 20;
/** A node itself gives up stopping after 9 s. */
const STOP_MS = 10_000;

export interface DemoNode {
  readonly name: string;
  readonly db: string;
  readonly port: number;
  readonly admin: number;
  process: Bun.Subprocess | null;
}

export class DemoCluster {
  readonly #context: CliContext;
  readonly #folder: string;
  #nodes: readonly DemoNode[] = [];
  #stopped = false;

  constructor(context: CliContext) {
    this.#context = context;
    this.#folder = mkdtempSync(join(tmpdir(), "marmot-demo-"));
    context.atExit(() => this.#remove());
  }

  get nodes(): readonly DemoNode[] {
    return this.#nodes;
  }

  /** Starts no node. The caller makes the file of the first node. */
  async prepare(): Promise<void> {
    const ports = await freePorts(2 * NAMES.length);
    this.#nodes = NAMES.map((name, i) => {
      mkdirSync(join(this.#folder, name));
      const db = join(this.#folder, name, "app.db");
      return { name, db, port: ports[2 * i]!, admin: ports[2 * i + 1]!, process: null };
    });
  }

  spawn(node: DemoNode): void {
    if (this.#stopped) return;
    const first = this.#nodes[0]!;
    const peers = this.#nodes.filter((n) => n !== node).map((n) => `/ip4/127.0.0.1/tcp/${n.port}`);
    const joins = ["--peers", peers.join(","), "--cluster-key", `${first.db}.marmot/cluster.key`];
    // Variables that set options of the demo must not set options of its nodes.
    const environment = Object.fromEntries(
      Object.entries(this.#context.environment).filter(([name]) => !name.startsWith("MARMOT_")),
    );
    const log = openSync(this.#logOf(node), "a");
    node.process = Bun.spawn(
      [
        ...[...this.#context.command, "run", "--db", node.db, "--name", node.name],
        ...["--listen", `/ip4/127.0.0.1/tcp/${node.port}`, "--admin", `127.0.0.1:${node.admin}`],
        ...(node === first ? [] : joins),
      ],
      { stdout: log, stderr: log, stdin: "ignore", env: environment },
    );
    closeSync(log);
  }

  #logOf(node: DemoNode): string {
    return join(this.#folder, node.name, "log.txt");
  }

  async ready(node: DemoNode): Promise<void> {
    const end = systemClock.now() + READY_MS;
    let reason = "it does not answer";
    while (systemClock.now() < end) {
      if (this.#stopped) throw new UserError("the demo was interrupted", "start it again");
      if (node.process?.exitCode !== null) {
        reason = `it ended with exit code ${node.process?.exitCode}`;
        break;
      }
      try {
        const response = await fetch(`http://127.0.0.1:${node.admin}/readyz`);
        if (response.ok) return;
        reason = await response.text();
      } catch {
        // It does not listen yet.
      }
      await Bun.sleep(LOOK_MS);
    }
    const log = readFileSync(this.#logOf(node), "utf8").slice(-1500);
    throw new UserError(
      `${node.name} did not get ready: ${reason.trim()}\n${log}`,
      "start the demo again; marmot doctor --db FILE checks a database of your own",
    );
  }

  client(node: DemoNode): NodeClient {
    return new NodeClient(`${node.db}.marmot`);
  }

  /** Resolves when all changes written on `node` are applied on each running node. */
  async everywhere(node: DemoNode): Promise<void> {
    const path = "/api/v1/wait?timeout=60s&all=true";
    const result = await this.client(node).requestWait<{ done: boolean; missing: string }>(
      path,
      READY_MS + 10_000,
    );
    if (!result.done)
      throw new UserError(`${node.name} still waits for ${result.missing}`, "start the demo again");
  }

  async kill(node: DemoNode, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
    const child = node.process;
    if (child === null) return;
    child.kill(signal);
    const ended = await Promise.race([child.exited.then(() => true), Bun.sleep(STOP_MS).then(() => false)]);
    if (!ended) child.kill("SIGKILL");
    await child.exited;
    node.process = null;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#nodes.map((n) => this.kill(n, "SIGTERM")));
    this.#remove();
  }

  /** Kills the nodes and removes the folder; synchronous, so it also works at exit. */
  #remove(): void {
    for (const { process } of this.#nodes) if (process?.exitCode === null) process.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
