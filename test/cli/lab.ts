/** The command in this process: argv in; exit code, standard output and standard error out. */
import type { CliContext } from "../../src/cli/context.ts";
import { main } from "../../src/cli/main.ts";

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface Surroundings {
  readonly environment?: Record<string, string>;
  readonly files?: Record<string, string>;
  readonly interrupted?: Promise<void>;
  /** To each question; absent: there is no terminal. */
  readonly answer?: string;
  /** Called with each result and each message. */
  readonly onPrint?: (text: string) => void;
  readonly onSay?: (text: string) => void;
}

export function contextOf(
  { environment = {}, files = {}, interrupted = new Promise(() => {}), answer, onPrint, onSay }: Surroundings,
  out: string[],
  err: string[],
): CliContext {
  return {
    environment,
    readFile: (path) => {
      const text = files[path];
      if (text === undefined) throw new Error(`ENOENT: no such file, ${path}`);
      return text;
    },
    print: (text) => {
      out.push(text);
      onPrint?.(text);
    },
    say: (text) => {
      err.push(text);
      onSay?.(text);
    },
    ask: () => answer ?? null,
    draw: (text) => void err.push(text),
    isTerminal: false,
    colors: { out: false, err: false },
    columns: () => 80,
    hostName: "host-7",
    command: [],
    interrupted: () => interrupted,
    atExit: () => {},
  };
}

export async function marmot(argv: readonly string[], around: Surroundings = {}): Promise<Outcome> {
  const out: string[] = [];
  const err: string[] = [];
  const code = await main(argv, contextOf(around, out, err));
  return { code, out: out.join("\n"), err: err.join("\n") };
}
