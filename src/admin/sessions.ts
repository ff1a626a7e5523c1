/** Sessions of the page: a browser that gave the token once holds a cookie instead of it. */
import { randomBytes } from "node:crypto";

const MAX_SESSIONS = 64;
const SESSION_MS = 12 * 3_600_000;
const NAME = "marmot_";

export class Sessions {
  readonly #now: () => number;
  /** Id ⇒ the time of its end. */
  readonly #ends = new Map<string, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The value of a `set-cookie` header. Cookies of a host are shared by its ports, so the name has the port. */
  begin(port: string): string {
    if (this.#ends.size >= MAX_SESSIONS) this.#ends.delete(this.#ends.keys().next().value!);
    const id = randomBytes(32).toString("hex");
    this.#ends.set(id, this.#now() + SESSION_MS);
    return `${NAME}${port}=${id}; HttpOnly; SameSite=Strict; Path=/; Max-Age=${SESSION_MS / 1000}`;
  }

  /** Ends the session of a request. Returns the value of a `set-cookie` header. */
  end(cookies: string, port: string): string {
    this.#ends.delete(idIn(cookies, port));
    return `${NAME}${port}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0`;
  }

  has(cookies: string, port: string): boolean {
    const end = this.#ends.get(idIn(cookies, port));
    return end !== undefined && this.#now() < end;
  }
}

function idIn(cookies: string, port: string): string {
  const start = `${NAME}${port}=`;
  const found = cookies.split(/; */).find((cookie) => cookie.startsWith(start));
  return found === undefined ? "" : found.slice(start.length);
}
