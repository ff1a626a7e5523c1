/**
 * The two servers of the admin API. A TCP port for people and monitoring is opened before the node starts, so that an
 * occupied port is found before anything is written. The control socket in the data directory, for the verbs, is opened
 * when the node has locked that directory. `routes.ts` has the answers, `guard.ts` the access rules.
 */
import { chmodSync, rmSync } from "node:fs";
import { systemClock } from "../base/clock.ts";
import { errorMessage, UserError } from "../base/errors.ts";
import type { NodeApi } from "../operations/api.ts";
import { type PublicName, refusal } from "./guard.ts";
import { dashboard } from "./answers.ts";
import { Sessions } from "./sessions.ts";
import { type Guard, Routes, type RoutesOptions } from "./routes.ts";

export interface AdminOptions extends RoutesOptions {
  /** null: no TCP port. Port 0 picks a free one. */
  readonly address: { readonly host: string; readonly port: number } | null;
  /** Required of each request on the TCP port; null: none is required. */
  readonly token: string | null;
  /** What may be read on the TCP port without the token, from any page and under any host name. */
  readonly open?: readonly PublicName[];
  /** Called with the control socket when it is open. Absent: only its owner may use it. */
  readonly shareSocket?: ((path: string) => void) | null;
}

const noGuard: Guard = () => null;

const SERVER = {
  /** Bytes. No request of this API has a body. */
  maxRequestBodySize: 1 << 16,
  /** Seconds; 0: no limit. A wait or a comparison sends nothing for as long as its timeout allows. */
  idleTimeout: 0,
} as const;

interface Opened {
  readonly tcp: Bun.Server<undefined> | null;
  readonly url: string | null;
  readonly shareSocket: ((path: string) => void) | null;
}

export class AdminServer {
  /** The dashboard's URL; null: no TCP port. */
  readonly url: string | null;
  readonly #routes: Routes;
  readonly #tcp: Bun.Server<undefined> | null;
  readonly #shareSocket: ((path: string) => void) | null;
  #control: { readonly server: Bun.Server<undefined>; readonly path: string } | null = null;

  private constructor(routes: Routes, { tcp, url, shareSocket }: Opened) {
    this.#routes = routes;
    this.#tcp = tcp;
    this.#shareSocket = shareSocket;
    this.url = url;
  }

  /** Opens the TCP port. Throws `UserError` when it is taken. */
  static open(options: AdminOptions): AdminServer {
    const routes = new Routes(options);
    const { address, token, open = [], shareSocket = null } = options;
    const access = { token, open, sessions: new Sessions(() => systemClock.now()), page: dashboard };
    const guard: Guard = (request) => refusal(request, access);
    if (address === null) return new AdminServer(routes, { tcp: null, url: null, shareSocket });
    const { host, port } = address;
    const shown = host.includes(":") ? `[${host}]` : host;
    try {
      const tcp = Bun.serve({
        hostname: host,
        port,
        ...SERVER,
        routes: routes.table(guard),
        fetch: routes.fallback(guard),
      });
      return new AdminServer(routes, { tcp, url: `http://${shown}:${tcp.port}/`, shareSocket });
    } catch (error) {
      throw new UserError(
        `the admin API cannot listen on ${shown}:${port}: ${errorMessage(error)}`,
        "choose a free port with --admin HOST:PORT, or --admin off",
        { cause: error },
      );
    }
  }

  /** The node has started: its API answers from now on, also on the control socket. */
  attach(api: NodeApi, controlSocket: string): void {
    this.#routes.attach(api);
    if (this.#control === null) this.openControl(controlSocket);
  }

  /** Opens the control socket. The caller holds the lock of the data directory: a socket there was left by a crash. */
  openControl(controlSocket: string): void {
    rmSync(controlSocket, { force: true });
    try {
      const options = {
        unix: controlSocket,
        ...SERVER,
        routes: this.#routes.table(noGuard),
        fetch: this.#routes.fallback(noGuard),
      };
      // Bun obeys `idleTimeout` on a Unix socket, too, but its types do not allow the two together.
      const server = Bun.serve(options as Omit<typeof options, "idleTimeout">);
      this.#control = { server, path: controlSocket };
    } catch (error) {
      throw new UserError(
        `the control socket ${controlSocket} cannot be opened: ${errorMessage(error)}`,
        "choose a folder with a short path, on a local file system, with --data-dir DIR",
        { cause: error },
      );
    }
    // Before this line only the permissions of the folder, 0700, protect the socket.
    if (process.platform !== "win32") chmodSync(controlSocket, 0o600);
    this.#shareSocket?.(controlSocket);
  }

  /** Also ends open requests. */
  async stop(): Promise<void> {
    const control = this.#control;
    this.#control = null;
    await Promise.all([control?.server.stop(true), this.#tcp?.stop(true)]);
    if (control !== null) rmSync(control.path, { force: true });
  }
}
