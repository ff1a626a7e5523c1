/** An S3-compatible store (moto), with a proxy before it that fails as a test asks for. */
import { freePorts } from "../../src/cli/free-ports.ts";
import { until } from "./lab.ts";

/** "hang": no answer for a while; "cut": the answer breaks off; "lost": the request is done, and its answer is lost. */
export type Fault = "none" | "503" | "hang" | "cut" | "lost";

export const hasMoto =
  Bun.spawnSync(["python3", "-c", "import moto.server"], { stderr: "ignore" }).exitCode === 0;

const BUCKET = "box";
const HANG_MS = 1500;

export class S3Lab {
  readonly environment: Record<string, string>;
  readonly #server: Bun.Subprocess;
  readonly #proxy: Bun.Server<undefined>;
  readonly #direct: string;
  fault: Fault = "none";
  /** Requests that met a fault. */
  faults = 0;

  private constructor(port: number) {
    this.#server = Bun.spawn(["python3", "-m", "moto.server", "-p", String(port)], {
      ...{ stdout: "ignore", stderr: "ignore" },
    });
    this.#direct = `http://127.0.0.1:${port}`;
    this.#proxy = Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 60, fetch: (r) => this.#pass(r) });
    this.environment = {
      S3_ENDPOINT: `http://127.0.0.1:${this.#proxy.port}`,
      ...{ S3_ACCESS_KEY_ID: "testing", S3_SECRET_ACCESS_KEY: "a-secret", S3_REGION: "us-east-1" },
    };
  }

  static async start(): Promise<S3Lab> {
    const [port] = await freePorts(1);
    const lab = new S3Lab(port!);
    await until(async () => {
      try {
        return (await fetch(`${lab.#direct}/${BUCKET}`, { method: "PUT" })).ok;
      } catch {
        return "no answer";
      }
    }, "the store answers");
    return lab;
  }

  async #pass(request: Request): Promise<Response> {
    const { fault } = this;
    if (fault !== "none") this.faults++;
    if (fault === "503") return new Response("<Error><Code>SlowDown</Code></Error>", { status: 503 });
    if (fault === "hang") await Bun.sleep(HANG_MS);
    if (fault === "cut" || fault === "hang") return broken();
    const { pathname, search } = new URL(request.url);
    const body = ["GET", "HEAD"].includes(request.method) ? {} : { body: await request.arrayBuffer() };
    const answer = await fetch(`${this.#direct}${pathname}${search}`, {
      ...{ method: request.method, headers: request.headers, ...body, decompress: false },
    });
    return fault === "lost" ? broken() : answer;
  }

  async names(prefix: string): Promise<string[]> {
    const answer = await fetch(`${this.#direct}/${BUCKET}?list-type=2&prefix=${prefix}`);
    return [...(await answer.text()).matchAll(/<Key>([^<]*)<\/Key>/g)].map((m) => m[1]!);
  }

  async stop(): Promise<void> {
    await this.#proxy.stop(true);
    this.#server.kill("SIGKILL");
    await this.#server.exited;
  }
}

/** A body that ends early. */
const broken = (): Response =>
  new Response(
    new ReadableStream({
      pull(controller) {
        controller.enqueue(new Uint8Array(10));
        controller.error(new Error("cut"));
      },
    }),
    { headers: { "content-length": "1000" } },
  );
