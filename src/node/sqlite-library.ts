/** Which SQLite a process on macOS runs on. */
import { existsSync } from "node:fs";
import { chooseLibrary, loadLibrary } from "../sqlite/versions/system-library.ts";

/** Before the first database is opened. */
export function useSqliteLibrary(environment: Readonly<Record<string, string | undefined>>): void {
  loadLibrary(chooseLibrary(process.platform, environment, existsSync));
}
