/** The paths of the admin API and their handlers, as `Bun.serve` takes them. Only POST changes state. */
import { systemClock } from "../base/clock.ts";
import { errorMessage, UserError } from "../base/errors.ts";
import type { MemberAction, NodeApi } from "../operations/api.ts";
import { dashboard, failure, json, metricsText, plain } from "./answers.ts";
import { changesResponse } from "./change-feed.ts";
import { earlyMetrics } from "../operations/health/process-metrics.ts";
import { renderMetrics } from "./prometheus.ts";
import {
  changesQuery,
  conflictFilter,
  conflictsQuery,
  demoteQuery,
  recoverQuery,
  eventsQuery,
  renameQuery,
  restoreAllQuery,
  restoreQuery,
  undoQuery,
  verifyQuery,
  waitQuery,
} from "./parameters.ts";

/** Characters of a path with its query. */
const MAX_URL = 4096;
/** Requests that may wait at the same time; each costs a look every few milliseconds. */
const MAX_WAITING = 64;
/** Readers of the change feed at the same time. */
const MAX_READERS = 256;
/** The same for those that wait for a position. */
const MAX_WAITING_FOR_POSITION = 1024;

/** The position that this node's file shows; in the answer to a wait for writes, their position. */
const POSITION_HEADER = "marmot-position";

export interface RoutesOptions {
  /** In a sentence, the work of a node that has not started yet. */
  readonly starting: () => string;
}

/** null: the request may pass. */
export type Guard = (request: Request) => Response | null;

interface Call {
  readonly query: URLSearchParams;
  /** The path parameter `:id`; "" where there is none. */
  readonly id: string;
  readonly headers: Headers;
}

type Answer = Response | Promise<Response>;
type Handler = (api: NodeApi, call: Call) => Answer;

interface Route {
  readonly method: "GET" | "POST";
  readonly handler: Handler;
  /** For other methods the path does not exist: 404 instead of 405. */
  readonly isAction?: true;
  /** The answer before the node has started; absent: 503. */
  readonly early?: () => Response;
}

type RoutedRequest = Request & { readonly params?: { readonly id?: string } };
export type Table = Readonly<Record<string, (request: RoutedRequest) => Promise<Response>>>;

export class Routes {
  readonly #options: RoutesOptions;
  #api: NodeApi | null = null;
  #waiting = 0;
  #waitingForPosition = 0;
  #readers = 0;
  #verifying = false;

  constructor(options: RoutesOptions) {
    this.#options = options;
  }

  /** The node has started: its API answers from now on. */
  attach(api: NodeApi): void {
    this.#api = api;
  }

  /** `GET /api/v1/conflicts/:id` and so on. */
  get paths(): string[] {
    return Object.entries(this.#routes).map(([path, { method }]) => `${method} ${path}`);
  }

  /** The `routes` of a server. */
  table(guard: Guard): Table {
    return Object.fromEntries(
      Object.entries(this.#routes).map(([path, route]) => [
        path,
        async (request: RoutedRequest): Promise<Response> => guard(request) ?? this.#answer(route, request),
      ]),
    );
  }

  /** The `fetch` of a server, which answers the paths that are not in the table. */
  fallback(guard: Guard): (request: Request) => Response {
    return (request) => guard(request) ?? (isTooLong(request) ? tooLong() : unknownPath());
  }

  /** Never throws. A HEAD is answered like its GET; the server leaves the body out. */
  async #answer(route: Route, request: RoutedRequest): Promise<Response> {
    if (isTooLong(request)) return tooLong();
    const method = request.method === "HEAD" ? "GET" : request.method;
    if (method !== route.method) return route.isAction ? unknownPath() : otherMethod(route);
    try {
      if (this.#api === null) return route.early?.() ?? this.#starting();
      const call = {
        query: new URL(request.url).searchParams,
        id: request.params?.id ?? "",
        headers: request.headers,
      };
      const response = await route.handler(this.#api, call);
      const position = this.#api.position();
      if (position !== null && !response.headers.has(POSITION_HEADER))
        response.headers.set(POSITION_HEADER, position);
      return response;
    } catch (error) {
      if (error instanceof UserError) return failure(400, error.message, error.hint);
      return failure(
        500,
        errorMessage(error),
        "marmot status shows whether this node is ready and connected",
      );
    }
  }

  #starting(): Response {
    return failure(
      503,
      `this node has not started yet: ${this.#options.starting()}`,
      "ask again in a moment",
    );
  }

  async #wait(api: NodeApi, { query }: Call): Promise<Response> {
    const options = waitQuery(query);
    const forPosition = options.position !== null;
    const [waiting, most] = forPosition
      ? [this.#waitingForPosition, MAX_WAITING_FOR_POSITION]
      : [this.#waiting, MAX_WAITING];
    if (waiting >= most)
      return failure(503, `${most} requests wait already`, "wait for one of them to return");
    if (forPosition) this.#waitingForPosition++;
    else this.#waiting++;
    try {
      const result = await api.wait(options);
      const response = json(result, result.done ? 200 : 504);
      if (result.position !== "") response.headers.set(POSITION_HEADER, result.position);
      return response;
    } finally {
      if (forPosition) this.#waitingForPosition--;
      else this.#waiting--;
    }
  }

  async #changes(api: NodeApi, { query, headers }: Call): Promise<Response> {
    const options = changesQuery(query, headers);
    if (this.#readers >= MAX_READERS)
      return failure(
        503,
        `${MAX_READERS} readers follow the changes already`,
        "close one of them, or ask another node",
      );
    this.#readers++;
    try {
      return changesResponse(await api.changes(options), headers, () => this.#readers--);
    } catch (error) {
      this.#readers--;
      throw error;
    }
  }

  async #verify(api: NodeApi, { query }: Call): Promise<Response> {
    const options = verifyQuery(query);
    if (this.#verifying)
      return failure(503, "this node compares already", "wait for the other verify to return");
    this.#verifying = true;
    try {
      return json(await api.verify(options));
    } finally {
      this.#verifying = false;
    }
  }

  #member(action: MemberAction): Route {
    const route = post(async (api, { id, query }) => {
      await api.changeMember(action, id, MEMBER_QUERIES[action]?.(query));
      return json({ done: true });
    });
    return { ...route, isAction: true };
  }

  readonly #routes: Readonly<Record<string, Route>> = {
    "/": get(
      () => dashboard(),
      () => dashboard(),
    ),
    "/healthz": get(
      () => plain("ok"),
      () => plain("ok"),
    ),
    "/readyz": get(
      (api) => {
        const reason = api.notReady();
        return reason === null ? plain("ready") : plain(reason, 503);
      },
      () => plain(this.#options.starting(), 503),
    ),
    "/metrics": get(
      (api) => metricsText(renderMetrics(api.metrics())),
      () => metricsText(renderMetrics(earlyMetrics(systemClock.wallTime()))),
    ),
    "/api/v1/status": get((api) => json(api.status())),
    "/api/v1/members": get((api) => json(api.status().members)),
    "/api/v1/members/recover": post(async (api, { query }) => json(await api.recover(recoverQuery(query)))),
    "/api/v1/members/:id/remove": this.#member("remove"),
    "/api/v1/members/:id/promote": this.#member("promote"),
    "/api/v1/members/:id/demote": this.#member("demote"),
    "/api/v1/members/:id/transfer": this.#member("transfer"),
    "/api/v1/members/:id/rename": this.#member("rename"),
    "/api/v1/wait": post((api, call) => this.#wait(api, call)),
    "/api/v1/verify": post((api, call) => this.#verify(api, call)),
    "/api/v1/repair": post(async (api) => json(await api.repair())),
    "/api/v1/history": get((api) => json(api.history())),
    "/api/v1/tables": get(async (api) => json(await api.tables())),
    "/api/v1/session": post(() => json({ needed: false })),
    "/api/v1/events": get((api, { query }) => json(api.events(eventsQuery(query)))),
    "/api/v1/changes": get((api, call) => this.#changes(api, call)),
    "/api/v1/undo": {
      ...post(async (api, { query }) => json(await api.undo(undoQuery(query)))),
      isAction: true,
    },
    "/api/v1/conflicts": get((api, { query }) => json(api.conflicts(conflictsQuery(query)))),
    "/api/v1/conflicts/:id": get((api, { id }) => {
      const found = api.conflict(id);
      return found === null ? noConflict(id) : json(found);
    }),
    "/api/v1/conflicts/all/dismiss": {
      ...post(async (api, { query }) => json(await api.dismiss(conflictFilter(query, true)))),
      isAction: true,
    },
    "/api/v1/conflicts/:id/dismiss": {
      ...post(async (api, { id }) => {
        const done = await api.dismiss(id);
        return done === null ? noConflict(id) : json(done);
      }),
      isAction: true,
    },
    "/api/v1/conflicts/all/restore": {
      ...post(async (api, { query }) => json(await api.restoreAll(restoreAllQuery(query)))),
      isAction: true,
    },
    "/api/v1/conflicts/:id/restore": {
      ...post(async (api, { id, query }) => {
        const done = await api.restore(id, restoreQuery(query));
        return done === null ? noConflict(id) : json(done);
      }),
      isAction: true,
    },
  };
}

const MEMBER_QUERIES: Readonly<
  Partial<Record<MemberAction, (query: URLSearchParams) => string | undefined>>
> = { rename: renameQuery, demote: demoteQuery };

function get(handler: Handler, early?: () => Response): Route {
  return { method: "GET", handler, ...(early === undefined ? {} : { early }) };
}

function post(handler: Handler): Route {
  return { method: "POST", handler };
}

const noConflict = (id: string): Response =>
  failure(404, `there is no conflict ${id}`, "marmot conflicts list shows those that are kept");

/** Of the path with its query; the origin does not count. */
const isTooLong = ({ url }: Request): boolean => url.length - url.indexOf("/", "https://".length) > MAX_URL;
const otherMethod = ({ method: allow }: Route): Response =>
  failure(405, "this path has another method", `use ${allow}`, { allow });
const unknownPath = (): Response =>
  failure(404, "there is no such path", "docs/http-api.md lists the paths; /api/v1/status is one");
const tooLong = (): Response => failure(414, "the URL is too long", `use at most ${MAX_URL} characters`);
