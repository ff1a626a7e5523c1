/**
 * Packages of the applications: in exact versions, installed once into a git-ignored folder by the client of the
 * runtime with the index of the machine. A package that is not available is a reason to skip, never a failure.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface Command {
  readonly words: readonly string[];
  readonly folder: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface Done {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const CACHE = join(import.meta.dir, "../../.tmp/apps");
/** Of one command; installing a package that has to be compiled takes a minute on two cores. */
const INSTALL_MS = 240_000;
const COMMAND_MS = 90_000;

/** Without stopping this process; a command that takes longer than `ms` is killed, and its code is not 0. */
export async function execute(command: Command, ms = COMMAND_MS): Promise<Done> {
  const child = Bun.spawn([...command.words], {
    cwd: command.folder,
    env: { ...process.env, ...command.environment },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    timeout: ms,
    killSignal: "SIGKILL",
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const code = await child.exited;
  return { code, stdout, stderr: child.signalCode === null ? stderr : `${stderr}\nended after ${ms} ms` };
}

/** Where packages are, or why they are not. */
export type Installed =
  { readonly folder: string; readonly missing: null } | { readonly folder: null; readonly missing: string };

const missing = (reason: string): Installed => ({ folder: null, missing: reason });

const lastLine = ({ stderr, stdout }: Done): string => `${stdout}\n${stderr}`.trim().split("\n").at(-1) ?? "";

/**
 * Runs `commands` in a new folder, once for each content of `files` and answer of `version`; "%" in a word is
 * replaced by the folder.
 */
export async function install(options: {
  readonly name: string;
  /** Says of which version the runtime is. */
  readonly version: readonly string[];
  /** Copied into the folder, by their paths below `from`. */
  readonly from: string;
  readonly files: readonly string[];
  readonly commands: readonly (readonly string[])[];
  readonly environment?: Readonly<Record<string, string>>;
}): Promise<Installed> {
  const { name, version, from, files, commands, environment = {} } = options;
  const runtime = Bun.which(version[0]!);
  if (runtime === null) return missing(`there is no ${version[0]} here`);
  const said = await execute({ words: version, folder: import.meta.dir });
  if (said.code !== 0) return missing(`${version.join(" ")} fails: ${lastLine(said)}`);
  const hash = new Bun.CryptoHasher("sha256")
    .update(said.stdout)
    .update(runtime)
    .update(JSON.stringify(commands));
  for (const file of files) hash.update(readFileSync(join(from, file)));
  const folder = join(CACHE, `${name}-${hash.digest("hex").slice(0, 12)}`);
  const complete = join(folder, "complete");
  if (existsSync(complete)) return { folder, missing: null };
  mkdirSync(CACHE, { recursive: true });
  // Unfinished, or of other versions.
  for (const old of readdirSync(CACHE).filter((entry) => entry.startsWith(`${name}-`)))
    rmSync(join(CACHE, old), { recursive: true, force: true });
  mkdirSync(folder);
  for (const file of files) cpSync(join(from, file), join(folder, file));
  for (const command of commands) {
    const words = command.map((word) => word.replaceAll("%", folder));
    const done = await execute({ words, folder, environment }, INSTALL_MS);
    if (done.code !== 0) return missing(`${words.slice(0, 4).join(" ")} fails: ${lastLine(done)}`);
  }
  writeFileSync(complete, "");
  return { folder, missing: null };
}

/** A virtual environment with the requirements of `folder`, and nothing else: they are all named. */
export const installPython = (name: string, folder: string): Promise<Installed> =>
  install({
    name,
    version: ["python3", "--version"],
    from: folder,
    files: ["requirements.txt"],
    commands: [
      ["python3", "-m", "venv", "%/venv"],
      [
        ...[
          "%/venv/bin/python",
          "-m",
          "pip",
          "install",
          "--quiet",
          "--no-deps",
          "--disable-pip-version-check",
        ],
        ...["--retries", "1", "--requirement", "%/requirements.txt"],
      ],
    ],
  });
