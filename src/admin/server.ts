/**
 * Where the admin API is served: a TCP port for people and monitors, opened before the node starts so that an occupied
 * port is found while nothing is written yet, and the control socket in the data directory for the verbs, once there is
 * a node. What is answered is in routes.ts, who may ask in guard.ts.
 */
import { chmodSync, rmSync } from "node:fs";
import { errorMessage, UserError } from "../base/errors.ts";
import type { NodeApi } from "../operations/api.ts";
import { refusal } from "./guard.ts";
import { Routes, type RoutesOptions } from "./routes.ts";

export interface AdminOptions extends RoutesOptions {
  /** null: no TCP port. Port 0 picks a free one. */
  readonly address: { readonly host: string; readonly port: number } | null;
  /** Needed from everybody on the TCP port when it is set. */
  readonly token: string | null;
}

/** No request of ours has a body. */
const MAX_BODY_BYTES = 1 << 16;

export class AdminServer {
  /** The dashboard's URL; null: no TCP port. */
  readonly url: string | null;
  readonly #routes: Routes;
  readonly #tcp: Bun.Server<undefined> | null;
  #control: { readonly server: Bun.Server<undefined>; readonly path: string } | null = null;

  private constructor(routes: Routes, tcp: Bun.Server<undefined> | null, url: string | null) {
    this.#routes = routes;
    this.#tcp = tcp;
    this.url = url;
  }

  /** Opens the TCP port. Throws `UserError` when it is taken. */
  static open(options: AdminOptions): AdminServer {
    const routes = new Routes(options);
    const { address, token } = options;
    if (address === null) return new AdminServer(routes, null, null);
    const { host, port } = address;
    const shown = host.includes(":") ? `[${host}]` : host;
    try {
      const tcp = Bun.serve({
        hostname: host,
        port,
        idleTimeout: 0, // a wait may take its time
        maxRequestBodySize: MAX_BODY_BYTES,
        fetch: (request) => refusal(request, token) ?? routes.answer(request),
      });
      return new AdminServer(routes, tcp, `http://${shown}:${tcp.port}/`);
    } catch (error) {
      throw new UserError(
        `the admin API cannot listen on ${shown}:${port}: ${errorMessage(error)}`,
        "choose a free port with --admin HOST:PORT, or --admin off",
        { cause: error },
      );
    }
  }

  /** The node has started: its API answers here and on the control socket. Replaces what a crash left of the socket. */
  attach(api: NodeApi, controlSocket: string): void {
    this.#routes.attach(api);
    rmSync(controlSocket, { force: true });
    try {
      const server = Bun.serve({
        unix: controlSocket, // without an idle timeout
        maxRequestBodySize: MAX_BODY_BYTES,
        fetch: (request) => this.#routes.answer(request),
      });
      this.#control = { server, path: controlSocket };
    } catch (error) {
      throw new UserError(
        `the control socket ${controlSocket} cannot be made: ${errorMessage(error)}`,
        "choose a folder with a short path, on a local file system, with --data-dir DIR",
        { cause: error },
      );
    }
    // Until here the folder's permissions, 0700, stand alone.
    if (process.platform !== "win32") chmodSync(controlSocket, 0o600);
  }

  /** Ends open requests, too. */
  async stop(): Promise<void> {
    const control = this.#control;
    this.#control = null;
    await Promise.all([control?.server.stop(true), this.#tcp?.stop(true)]);
    if (control !== null) rmSync(control.path, { force: true });
  }
}
