/**
 * SQLite's versions format a REAL as text in different ways. Measured over 3.40.1 to 3.54.1: up to 3.52 with 15 significant
 * digits, from 3.53 on with as many as are needed (0.1 + 0.2 is 0.3, then 0.30000000000000004; 1e15 is 1.0e+15, then
 * 1000000000000000.0). `quote` and `round` also changed in 3.43, and digits beyond the 17th before 3.50.
 */
import { ownVersion, showVersion, type SqliteVersion } from "./sqlite-version.ts";

/** The first version of each format. */
const FORMATS: readonly SqliteVersion[] = [3_043_000, 3_050_000, 3_053_000];

const formatOf = (version: SqliteVersion): number => FORMATS.findLastIndex((from) => version >= from);

/** `version`: of an application; null: unknown. */
export const formatsAlike = (version: SqliteVersion | null, own = ownVersion()): boolean =>
  version === null || formatOf(version) === formatOf(own);

/** The versions that format as Marmot's does. */
export function alikeVersions(own = ownVersion()): string {
  const format = formatOf(own);
  const from = FORMATS[format];
  const next = FORMATS[format + 1];
  if (from === undefined) return `before ${showVersion(FORMATS[0]!)}`;
  return next === undefined
    ? `${showVersion(from)} or later`
    : `${showVersion(from)} or later, before ${showVersion(next)}`;
}
