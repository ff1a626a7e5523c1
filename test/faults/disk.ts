/**
 * A small disk: a tmpfs mounted over a folder, which can be filled to the last block and emptied again. Needs root, or
 * sudo without a password; `canMount` says whether this machine lets us.
 */
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, rmdirSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PREFIX = process.getuid?.() === 0 ? [] : ["sudo", "-n"];

const privileged = (...command: readonly string[]): boolean => {
  try {
    return Bun.spawnSync([...PREFIX, ...command], { stdout: "ignore", stderr: "ignore" }).exitCode === 0;
  } catch {
    return false; // there is no such program
  }
};

/** null: it can; else why not, for the message of a test that is skipped. */
export function canMount(): string | null {
  if (process.platform !== "linux")
    return `small disks are mounted on Linux only, not on ${process.platform}`;
  const folder = mkdtempSync(join(tmpdir(), "marmot-mount-"));
  try {
    const disk = new SmallDisk(folder, 1);
    disk.unmount();
    return null;
  } catch (error) {
    return (error as Error).message;
  } finally {
    rmdirSync(folder);
  }
}

/** Mounted until `unmount`, also when the process ends otherwise than by SIGKILL. */
export class SmallDisk {
  readonly folder: string;
  readonly #binds: string[] = [];
  readonly #onExit = (): void => this.unmount();
  #mounted = true;
  #file: string;

  /** Over `folder`, which exists and is empty. */
  constructor(folder: string, megabytes: number) {
    this.folder = folder;
    this.#file = join(folder, ".full");
    const owner = `uid=${process.getuid?.() ?? 0},gid=${process.getgid?.() ?? 0},mode=700`;
    if (!privileged("mount", "-t", "tmpfs", "-o", `size=${megabytes}m,${owner}`, "tmpfs", folder))
      throw new Error("mounting a tmpfs needs root, or sudo without a password");
    process.on("exit", this.#onExit);
  }

  /** `inside`, a folder of this disk, is really `outside`, which has room. */
  bind(inside: string, outside: string): void {
    mkdirSync(inside, { recursive: true });
    mkdirSync(outside, { recursive: true });
    if (!privileged("mount", "--bind", outside, inside)) throw new Error(`${inside} cannot be bound`);
    this.#binds.push(inside);
  }

  /** Nothing can be written any more, to the last byte. */
  fill(): void {
    const file = openSync(this.#file, "a");
    try {
      for (let size = 1 << 20; size >= 1; size = size >> 2) {
        const block = new Uint8Array(size);
        try {
          for (;;) if (writeSync(file, block) < size) break;
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  empty(): void {
    rmSync(this.#file, { force: true });
  }

  unmount(): void {
    if (!this.#mounted) return;
    this.#mounted = false;
    process.off("exit", this.#onExit);
    // Lazily: a process that was just killed may hold a file a moment longer.
    for (const bind of this.#binds.reverse()) privileged("umount", "-l", bind);
    privileged("umount", "-l", this.folder);
  }
}
