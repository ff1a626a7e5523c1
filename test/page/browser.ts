/** A headless Chromium, driven by its DevTools protocol. null where none is installed. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const START_MS = 30_000;
const LOOK_MS = 25;

export const chromium: string | null =
  NAMES.map((name) => Bun.which(name)).find((path) => path !== null) ?? null;

interface Answer {
  readonly id?: number;
  readonly method?: string;
  readonly params?: {
    readonly request?: { readonly url: string };
    readonly entry?: { readonly text: string };
  };
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

export interface View {
  readonly width: number;
  readonly height: number;
  readonly scheme?: "light" | "dark";
}

export class Browser {
  /** URLs that the page asked for, and messages of its console. */
  readonly requests: string[] = [];
  readonly complaints: string[] = [];
  readonly #folder: string;
  readonly #process: Bun.Subprocess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #socket: WebSocket | null = null;
  #session = "";
  #next = 1;

  private constructor(folder: string, process: Bun.Subprocess) {
    this.#folder = folder;
    this.#process = process;
  }

  static async start(): Promise<Browser> {
    const folder = mkdtempSync(join(tmpdir(), "marmot-page-"));
    const flags = [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--no-first-run",
    ];
    const process = Bun.spawn(
      [chromium!, ...flags, "--remote-debugging-port=0", `--user-data-dir=${folder}`, "about:blank"],
      { stdout: "ignore", stderr: "ignore" },
    );
    const browser = new Browser(folder, process);
    await browser.#connect();
    return browser;
  }

  async #connect(): Promise<void> {
    const end = performance.now() + START_MS;
    let lines: string[] = [];
    while (lines.length < 2) {
      if (performance.now() > end) throw new Error("Chromium did not start");
      await Bun.sleep(LOOK_MS);
      try {
        lines = readFileSync(join(this.#folder, "DevToolsActivePort"), "utf8").trim().split("\n");
      } catch {} // it is not written yet
    }
    const socket = new WebSocket(`ws://127.0.0.1:${lines[0]}${lines[1]}`);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
    socket.onmessage = ({ data }) => this.#onMessage(JSON.parse(String(data)) as Answer);
    this.#socket = socket;
    const { targetId } = (await this.#send("Target.createTarget", { url: "about:blank" })) as {
      targetId: string;
    };
    const attached = await this.#send("Target.attachToTarget", { targetId, flatten: true });
    this.#session = (attached as { sessionId: string }).sessionId;
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await this.#send(`${domain}.enable`, {});
  }

  #onMessage(message: Answer): void {
    if (message.id !== undefined) this.#waiting.get(message.id)?.(message);
    if (message.method === "Network.requestWillBeSent")
      this.requests.push(message.params?.request?.url ?? "");
    if (message.method === "Log.entryAdded") this.complaints.push(message.params?.entry?.text ?? "");
    if (message.method === "Runtime.exceptionThrown") this.complaints.push(JSON.stringify(message.params));
  }

  #send(method: string, params: object): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ error, result }) => {
        this.#waiting.delete(id);
        if (error === undefined) resolve(result);
        else reject(new Error(`${method}: ${error.message}`));
      });
      this.#socket!.send(
        JSON.stringify({ id, method, params, ...(this.#session ? { sessionId: this.#session } : {}) }),
      );
    });
  }

  async open(url: string): Promise<void> {
    await this.#send("Page.navigate", { url });
    await this.until("document.readyState === 'complete'");
  }

  async view({ width, height, scheme = "light" }: View): Promise<void> {
    const mobile = width < 600;
    await this.#send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
    await this.#send("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }],
    });
  }

  /** The value of an expression, which may be a promise. */
  async evaluate<T>(expression: string): Promise<T> {
    const answer = await this.#send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    const { result, exceptionDetails: failed } = answer as {
      result: { value: T };
      exceptionDetails?: { text: string; exception?: { description?: string } };
    };
    if (failed !== undefined) throw new Error(failed.exception?.description ?? failed.text);
    return result.value;
  }

  /** Waits until an expression is true. */
  async until(expression: string, timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    while (!(await this.evaluate<boolean>(`Boolean(${expression})`))) {
      if (performance.now() > end)
        throw new Error(
          `never true: ${expression}\n${await this.evaluate<string>("document.body.innerText")}`,
        );
      await Bun.sleep(LOOK_MS * 4);
    }
  }

  async press(key: string): Promise<void> {
    const event = { key, code: key, windowsVirtualKeyCode: key === "Enter" ? 13 : key === "Tab" ? 9 : 27 };
    await this.#send("Input.dispatchKeyEvent", {
      type: "keyDown",
      ...event,
      ...(key === "Enter" ? { text: "\r" } : {}),
    });
    await this.#send("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }

  async screenshot(path: string): Promise<void> {
    const shot = await this.#send("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    writeFileSync(path, Buffer.from((shot as { data: string }).data, "base64"));
  }

  async stop(): Promise<void> {
    this.#socket?.close();
    this.#process.kill();
    await this.#process.exited;
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
