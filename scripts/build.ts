/**
 * Compiles the binary: `bun scripts/build.ts` for this machine to dist/marmot, `bun scripts/build.ts --all` for every
 * platform to dist/marmot-<platform>. Other platforms' runtimes come from the package registry, as Bun's own package does.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const ROOT = join(import.meta.dir, "..");
const packageJson = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  version: string;
  dependencies: Record<string, string>;
};

/** Bun's target ⇒ its package and the executable in it. */
const TARGETS: Record<
  string,
  { readonly package: string; readonly executable: string; readonly output: string }
> = {
  "bun-linux-x64": { package: "@oven/bun-linux-x64", executable: "bin/bun", output: "marmot-linux-x64" },
  "bun-linux-x64-musl": {
    package: "@oven/bun-linux-x64-musl",
    executable: "bin/bun",
    output: "marmot-linux-x64-musl",
  },
  "bun-linux-arm64": {
    package: "@oven/bun-linux-aarch64",
    executable: "bin/bun",
    output: "marmot-linux-arm64",
  },
  "bun-darwin-x64": { package: "@oven/bun-darwin-x64", executable: "bin/bun", output: "marmot-darwin-x64" },
  "bun-darwin-arm64": {
    package: "@oven/bun-darwin-aarch64",
    executable: "bin/bun",
    output: "marmot-darwin-arm64",
  },
  "bun-windows-x64": {
    package: "@oven/bun-windows-x64",
    executable: "bin/bun.exe",
    output: "marmot-windows-x64.exe",
  },
};

function commit(): string {
  const git = Bun.spawnSync(["git", "rev-parse", "--short=12", "HEAD"], {
    cwd: ROOT,
    stdout: "pipe",
    stderr: "ignore",
  });
  return git.exitCode === 0 ? git.stdout.toString().trim() : "unknown";
}

function run(command: readonly string[]): void {
  const done = Bun.spawnSync([...command], { cwd: ROOT, stdout: "inherit", stderr: "inherit" });
  if (done.exitCode !== 0) throw new Error(`${command.slice(0, 3).join(" ")} … failed with ${done.exitCode}`);
}

function compile(outfile: string, extra: readonly string[]): void {
  const define = (name: string, value: string): string[] => ["--define", `${name}=${JSON.stringify(value)}`];
  run([
    process.execPath,
    ...["build", "--compile", "--minify", "--bytecode", "--format=esm", "--external", "msgpackr-extract"],
    ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
    ...define("MARMOT_VERSION", packageJson.version),
    ...define("MARMOT_COMMIT", commit()),
    ...define("MARMOT_LIBP2P", packageJson.dependencies.libp2p!),
    ...extra,
    ...["src/main.ts", "--outfile", outfile],
  ]);
  chmodSync(join(ROOT, outfile), 0o755);
  console.log(`${outfile}  ${Math.round(statSync(join(ROOT, outfile)).size / 1e6)} MB`);
}

/** Fetches another platform's runtime from the package registry into node_modules/.cache, once. */
function runtimeOf(target: string): string {
  const { package: name, executable } = TARGETS[target]!;
  const folder = join(ROOT, "node_modules", ".cache", "runtimes", target);
  const path = join(folder, "package", executable);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  run(["npm", "pack", "--silent", "--pack-destination", folder, `${name}@${Bun.version}`]);
  const archive = [...new Bun.Glob("*.tgz").scanSync({ cwd: folder })][0]!;
  run(["tar", "-xzf", join(folder, archive), "-C", folder]);
  return path;
}

mkdirSync(join(ROOT, "dist"), { recursive: true });
if (process.argv.includes("--all"))
  for (const [target, { output }] of Object.entries(TARGETS))
    compile(`dist/${output}`, ["--target", target, "--compile-executable-path", runtimeOf(target)]);
else compile(process.platform === "win32" ? "dist/marmot.exe" : "dist/marmot", []);
