/** An S3-compatible store (moto), with a proxy before it that fails as a test asks for. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePorts } from "../../src/cli/free-ports.ts";
import { until } from "./lab.ts";

/** "hang": no answer, and the connection ends later; "cut": it ends at once; "lost": the request is done, and its answer is lost. */
export type Fault = "none" | "503" | "hang" | "cut" | "lost";

export const hasMoto =
  Bun.spawnSync(["python3", "-c", "import moto.server"], { stderr: "ignore" }).exitCode === 0;

const BUCKET = "box";
const HANG_MS = 1500;
const BUSY = "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

export class S3Lab {
  readonly environment: Record<string, string>;
  readonly #server: Bun.Subprocess;
  readonly #proxy: Server;
  readonly #port: number;
  readonly #direct: string;
  fault: Fault = "none";
  /** Requests that met a fault. */
  faults = 0;

  private constructor(port: number, proxyPort: number) {
    this.#server = Bun.spawn(["python3", "-m", "moto.server", "-p", String(port)], {
      ...{ stdout: "ignore", stderr: "ignore" },
    });
    this.#direct = `http://127.0.0.1:${port}`;
    this.#port = port;
    this.#proxy = createServer((client) => this.#pass(client));
    this.environment = {
      ...{ S3_ENDPOINT: `http://127.0.0.1:${proxyPort}`, S3_ACCESS_KEY_ID: "testing" },
      ...{ S3_SECRET_ACCESS_KEY: "a-secret", S3_REGION: "us-east-1" },
    };
  }

  static async start(): Promise<S3Lab> {
    const [port, proxyPort] = await freePorts(2);
    const lab = new S3Lab(port!, proxyPort!);
    lab.#proxy.listen(proxyPort, "127.0.0.1");
    await until(async () => {
      try {
        return (await fetch(`${lab.#direct}/${BUCKET}`, { method: "PUT" })).ok;
      } catch {
        return "no answer";
      }
    }, "the store answers");
    return lab;
  }

  #pass(client: Socket): void {
    const store = connect(this.#port, "127.0.0.1");
    const end = (): void => {
      client.destroy();
      store.destroy();
    };
    for (const socket of [client, store]) socket.on("error", end).on("close", end);
    client.on("data", (bytes) => {
      const { fault } = this;
      if (fault === "none" || fault === "lost") return void store.write(bytes);
      this.faults++;
      if (fault === "503") client.end(BUSY);
      else if (fault === "cut") end();
      else setTimeout(end, HANG_MS);
    });
    store.on("data", (bytes) => {
      if (this.fault !== "lost") return void client.write(bytes);
      this.faults++;
      end();
    });
  }

  async stop(): Promise<void> {
    this.#proxy.close();
    this.#server.kill("SIGKILL");
    await this.#server.exited;
  }
}
