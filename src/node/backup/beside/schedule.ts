/**
 * Backups of a running node at regular times. Each is made by another process, so that the node's own loop never waits for it. The times
 * follow from the names of the backups: a restart does not begin again.
 */
import type { Clock, Timer } from "../../../base/clock.ts";
import { errorMessage, UserError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { BackupStatus } from "../../../operations/api.ts";
import { dataPaths } from "../../../replication/machine/data-paths.ts";
import { backupBase } from "../backup-base.ts";
import type { BackupFolder } from "../places/backup-folder.ts";
import { backupPlace } from "../places/place.ts";
import { completeBackups, takenAt } from "../restore-file.ts";
import { sidecarName } from "../sidecar.ts";
import { refusedBy } from "./refused-by.ts";

/** After a failure. */
const AGAIN_MS = 60_000;
/** While the node has no replica. */
const SOON_MS = 500;
/** Timers of the runtime cannot be much longer. */
const LONGEST_MS = 24 * 3_600_000;

export interface ScheduleOptions {
  readonly to: string;
  readonly everyMs: number;
  readonly keepMs: number | null;
  readonly db: string;
  readonly dataDir: string;
  readonly functions: string | null;
  readonly libraries: readonly string[];
}

export interface ScheduleComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The command that starts this program. */
  readonly command: readonly string[];
  /** The node has a replica. */
  readonly ready: () => boolean;
}

interface Known {
  readonly at: number;
  readonly position: string | null;
}

export class BackupSchedule {
  readonly #components: ScheduleComponents;
  readonly #options: ScheduleOptions;
  #timer: Timer | null = null;
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | null = null;
  #stopped = false;
  #last: Known | null = null;
  #failures = 0;
  #error = "";

  constructor(components: ScheduleComponents, options: ScheduleOptions) {
    this.#components = components;
    this.#options = options;
  }

  get status(): BackupStatus {
    const { to, everyMs, keepMs } = this.#options;
    return {
      ...{ to, everyMs, keepMs, running: this.#child !== null },
      ...{ lastAt: this.#last?.at ?? null, lastPosition: this.#last?.position ?? null },
      ...{ failures: this.#failures, error: this.#error },
    };
  }

  start(): void {
    this.#later(SOON_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#child?.kill();
  }

  #later(ms: number): void {
    if (this.#stopped) return;
    this.#timer = this.#components.clock.after(Math.min(ms, LONGEST_MS), () => void this.#turn());
  }

  async #turn(): Promise<void> {
    if (!this.#components.ready()) return this.#later(SOON_MS);
    const { everyMs, to } = this.#options;
    try {
      this.#last ??= await this.#newest();
      if (this.#dueIn() <= 0) this.#last = await this.#make();
      this.#error = "";
      this.#later(this.#dueIn());
    } catch (error) {
      if (this.#stopped) return;
      this.#failures++;
      this.#error = error instanceof UserError ? `${error.message} (${error.hint})` : errorMessage(error);
      this.#components.logger.error("a backup failed", { to, error: this.#error });
      this.#later(Math.min(everyMs, AGAIN_MS));
    }
  }

  #dueIn(): number {
    if (this.#last === null) return 0;
    // A clock that was set back must not stop the backups.
    const age = Math.max(0, this.#components.clock.wallTime() - this.#last.at);
    return this.#options.everyMs - age;
  }

  get #folder(): BackupFolder {
    return backupPlace(this.#options.to, dataPaths(this.#options.dataDir).backups).folder;
  }

  async #own(folder: BackupFolder): Promise<readonly string[]> {
    const base = backupBase(this.#options.db, this.#options.dataDir);
    return (await completeBackups(folder)).filter((name) => name.startsWith(`${base}-`));
  }

  /** null: there is none. */
  async #newest(): Promise<Known | null> {
    const name = (await this.#own(this.#folder)).at(-1);
    return name === undefined ? null : { at: takenAt(name), position: null };
  }

  async #make(): Promise<Known> {
    const { clock, logger } = this.#components;
    const begun = clock.wallTime();
    const child = this.#spawn();
    this.#child = child;
    try {
      const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()];
      const [out, err] = (await Promise.all(texts)) as [string, string];
      const code = await child.exited;
      if (code !== 0) throw refusedBy(err, code, "give marmot backup by hand");
      const { at, position, bytes } = JSON.parse(out) as { at: string; position: string; bytes: number };
      logger.info("backup", { at, position, bytes, ms: clock.wallTime() - begun });
      await this.#prune();
      return { at: begun, position };
    } finally {
      this.#child = null;
    }
  }

  #spawn(): Bun.Subprocess<"ignore", "pipe", "pipe"> {
    const { to, db, dataDir, functions, libraries } = this.#options;
    return Bun.spawn({
      cmd: [
        ...[...this.#components.command, "backup", to, "--db", db, "--data-dir", dataDir, "--json"],
        ...(functions === null ? [] : ["--functions", functions]),
        ...libraries.flatMap((library) => ["--load-extension", library]),
      ],
      ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe" },
    });
  }

  /** Removes backups that are older than they are to be kept. The newest one stays. */
  async #prune(): Promise<void> {
    const { keepMs } = this.#options;
    if (keepMs === null) return;
    const folder = this.#folder;
    const limit = this.#components.clock.wallTime() - keepMs;
    const all = await this.#own(folder);
    for (const name of all.slice(0, -1).filter((one) => takenAt(one) < limit)) {
      await folder.remove(sidecarName(name));
      await folder.remove(name);
      this.#components.logger.info("an old backup is removed", { name });
    }
  }
}
