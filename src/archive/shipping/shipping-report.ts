/** Counts, errors and events of shipping. */
import { errorMessage, UserError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { showPosition } from "../../base/text/position-token.ts";
import type { Chained } from "../archive.ts";
import type { Link, SnapshotLink } from "../chain-link.ts";
import { GAP_REASONS } from "./continuity.ts";
import type { ShipperStatus } from "./shipped.ts";

type Facts = Omit<ShipperStatus, "position" | "behindEntries" | "behindMs" | "number" | "node">;

export class ShippingReport {
  readonly #logger: Logger;
  readonly #to: string;
  state: ShipperStatus["state"] = "waiting";
  #counts = { shipped: 0, bytes: 0, snapshots: 0, failures: 0 };
  #lastAt: number | null = null;
  #lastSnapshotAt: number | null = null;
  #error = "";

  constructor(logger: Logger, to: string) {
    this.#logger = logger;
    this.#to = to;
  }

  get facts(): Facts {
    return {
      ...{ to: this.#to, state: this.state, ...this.#counts, error: this.#error },
      ...{ lastAt: this.#lastAt, lastSnapshotAt: this.#lastSnapshotAt },
    };
  }

  shipped({ link, size }: Chained): void {
    this.#counts.shipped++;
    this.#counts.bytes += size;
    this.#lastAt = link.time;
  }

  snapshot({ at }: SnapshotLink): void {
    this.#counts.snapshots++;
    this.#lastSnapshotAt = at;
  }

  failed(error: unknown): void {
    this.#counts.failures++;
    this.state = "paused";
    const reason = error instanceof UserError ? `${error.message} (${error.hint})` : errorMessage(error);
    if (reason !== this.#error)
      this.#logger.event(
        "archive",
        `the archive is paused: ${reason}`,
        { to: this.#to, error: reason },
        "error",
      );
    this.#error = reason;
  }

  healthy(): void {
    if (this.#error === "") return;
    this.#error = "";
    this.#logger.event("archive", "the archive goes on", { to: this.#to });
  }

  gap({ to }: Link, broken: keyof typeof GAP_REASONS): void {
    const at = showPosition(to);
    this.#logger.event(
      "archive",
      `${GAP_REASONS[broken]}; a snapshot follows ${at}`,
      { position: at },
      "warn",
    );
  }
}
