/** A restore drill of a running node: `marmot archive verify` in a process beside it, every day on the node that ships. */
import type { Clock, Timer } from "../../../base/clock.ts";
import { errorMessage } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ShipperStatus } from "../../../archive/shipping/shipped.ts";
import type { DrillStatus } from "../../../operations/archive-api.ts";
import { refusedBy } from "./refused-by.ts";

/** Between looks whether this node ships; then comes the first one. */
const FIRST_MS = 10_000;
const EVERY_MS = 24 * 3_600_000;
const AGAIN_MS = 3_600_000;

export interface DrillComponents {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly command: readonly string[];
  readonly ships: () => Pick<ShipperStatus, "state" | "number">;
}

export interface DrillOptions {
  readonly to: string;
  readonly keyFile: string | null;
}

export class Drill {
  readonly #components: DrillComponents;
  readonly #options: DrillOptions;
  #timer: Timer | null = null;
  #child: Bun.Subprocess<"ignore", "pipe", "pipe"> | null = null;
  #stopped = false;
  status: DrillStatus | null = null;

  constructor(components: DrillComponents, options: DrillOptions) {
    this.#components = components;
    this.#options = options;
  }

  start(): void {
    this.#later(FIRST_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#child?.kill();
  }

  #later(ms: number): void {
    if (!this.#stopped) this.#timer = this.#components.clock.after(ms, () => void this.#turn());
  }

  async #turn(): Promise<void> {
    const { ships, clock } = this.#components;
    const { state, number } = ships();
    if (state !== "shipping" || number === null) return this.#later(FIRST_MS);
    const at = clock.wallTime();
    const begun = clock.now();
    const result = await this.#verify();
    if (this.#stopped) return;
    this.status = { at, ms: Math.round(clock.now() - begun), ...result };
    this.#tell(this.status);
    this.#later(result.ok ? EVERY_MS : AGAIN_MS);
  }

  #tell({ ok, position, ms, error }: DrillStatus): void {
    const { logger } = this.#components;
    const { to } = this.#options;
    if (ok) logger.event("archive", `a drill restored ${position} from the archive`, { to, position, ms });
    else logger.event("archive", `the archive could not be restored: ${error}`, { to, error }, "error");
  }

  async #verify(): Promise<Pick<DrillStatus, "ok" | "position" | "error">> {
    const { to, keyFile } = this.#options;
    const key = keyFile === null ? [] : ["--archive-key", keyFile];
    try {
      const child = Bun.spawn({
        cmd: [...this.#components.command, "archive", "verify", to, ...key, "--newest", "--json"],
        ...{ stdin: "ignore", stdout: "pipe", stderr: "pipe" },
      });
      this.#child = child;
      const texts = [new Response(child.stdout).text(), new Response(child.stderr).text()];
      const [out, err] = (await Promise.all(texts)) as [string, string];
      const code = await child.exited;
      if (code === 0)
        return { ok: true, position: (JSON.parse(out) as { position: string }).position, error: "" };
      return { ok: false, position: "", error: refusedBy(err, code, "").message };
    } catch (error) {
      return { ok: false, position: "", error: errorMessage(error) };
    } finally {
      this.#child = null;
    }
  }
}
