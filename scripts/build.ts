/**
 * Compiles the binary: for this machine to dist/marmot, with --all for every platform to dist/marmot-<platform>. The
 * runtimes of other platforms come from the package registry and are kept in node_modules/.cache.
 *
 *   bun scripts/build.ts [--all | --out FILE]
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Target, TARGETS } from "./lib/packages/targets.ts";
import { parseScriptArgs } from "./lib/usage.ts";

const { values } = parseScriptArgs(import.meta.path, {
  all: { type: "boolean", default: false },
  out: { type: "string" },
});

const ROOT = join(import.meta.dir, "..");
const packageJson = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  version: string;
  dependencies: Record<string, string>;
};

/** From git, or from the variable where there is no git, as in the build of an image. */
function commit(): string {
  if (process.env.MARMOT_COMMIT) return process.env.MARMOT_COMMIT;
  try {
    const git = Bun.spawnSync(["git", "rev-parse", "--short=12", "HEAD"], { cwd: ROOT, stderr: "ignore" });
    return git.exitCode === 0 ? git.stdout.toString().trim() : "unknown";
  } catch {
    return "unknown";
  }
}

function run(command: readonly string[], cwd = ROOT): void {
  const done = Bun.spawnSync([...command], { cwd, stdout: "inherit", stderr: "inherit", stdin: "ignore" });
  if (done.exitCode !== 0) throw new Error(`${command.join(" ")} failed with ${done.exitCode}`);
}

function compile(outfile: string, extra: readonly string[]): void {
  const define = (name: string, value: string): string[] => ["--define", `${name}=${JSON.stringify(value)}`];
  run([
    process.execPath,
    // A top-level await needs ESM; without splitting, all modules would be loaded at once. The external one is an addon that would
    // be loaded from the build machine's path.
    ...["build", "--compile", "--minify", "--bytecode", "--splitting", "--format=esm"],
    ...["--external", "msgpackr-extract"],
    // Otherwise the binary would read .env and bunfig.toml of the folder in which it is started.
    ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
    ...define("MARMOT_VERSION", packageJson.version),
    ...define("MARMOT_COMMIT", commit()),
    ...define("MARMOT_LIBP2P", packageJson.dependencies.libp2p!),
    ...extra,
    ...["src/main.ts", "--outfile", outfile],
  ]);
  chmodSync(resolve(ROOT, outfile), 0o755);
  console.log(`${outfile}  ${Math.round(statSync(resolve(ROOT, outfile)).size / 1e6)} MB`);
}

/** The path of the runtime of another platform, in the version of this one; fetched once. */
function runtimeOf({ target, runtime, executable }: Target): string {
  const folder = join(ROOT, "node_modules", ".cache", "runtimes", `${target}-${Bun.version}`);
  const path = join(folder, "node_modules", runtime, executable);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), `{"name":"runtime","private":true}\n`);
  const anywhere = ["--os=*", "--cpu=*", "--ignore-scripts"];
  run([process.execPath, "add", ...anywhere, `${runtime}@${Bun.version}`], folder);
  return path;
}

mkdirSync(join(ROOT, "dist"), { recursive: true });
if (values.all)
  for (const t of TARGETS)
    compile(t.output, ["--target", t.target, "--compile-executable-path", runtimeOf(t)]);
else compile(values.out ?? (process.platform === "win32" ? "dist/marmot.exe" : "dist/marmot"), []);
