/** The platforms of a release: how Bun names them, where their runtime comes from, and in what they are packed. */
export interface Target {
  /** In the names of files: `linux-x64`. */
  readonly name: string;
  /** As Bun names the platform. */
  readonly target: string;
  /** The package with its runtime, and the runtime in it. */
  readonly runtime: string;
  readonly executable: string;
  readonly output: string;
  readonly archive: "tar.gz" | "zip";
  /** Debian's name of the architecture; null: no package. */
  readonly deb: string | null;
}

const target = (name: string, runtime: string, more: Partial<Target> = {}): Target => ({
  ...{ name, target: `bun-${name}`, runtime: `@oven/bun-${runtime}`, executable: "bin/bun" },
  ...{ output: `dist/marmot-${name}`, archive: "tar.gz", deb: null },
  ...more,
});

export const TARGETS: readonly Target[] = [
  target("linux-x64", "linux-x64", { deb: "amd64" }),
  target("linux-x64-musl", "linux-x64-musl"),
  target("linux-arm64", "linux-aarch64", { deb: "arm64" }),
  target("linux-arm64-musl", "linux-aarch64-musl"),
  target("darwin-x64", "darwin-x64"),
  target("darwin-arm64", "darwin-aarch64"),
  target("windows-x64", "windows-x64", {
    ...{ executable: "bin/bun.exe", output: "dist/marmot-windows-x64.exe", archive: "zip" },
  }),
];
