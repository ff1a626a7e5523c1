/** Versions of formats as a hello tells them: name, oldest and newest version. Names that this build lacks are ignored. */
import * as v from "valibot";
import { FORMAT_NAMES, FORMATS, OLDEST_FORMATS, type FormatRanges } from "../../base/versions/formats.ts";

const MAX_FORMATS = 64;
const version = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(1_000_000));

/** Items of a later build may have more cells. */
const ITEM = v.tuple([v.pipe(v.string(), v.maxLength(64)), version, version]);

export const TOLD_FORMATS = v.pipe(v.array(ITEM), v.maxLength(MAX_FORMATS), v.readonly());
export type ToldFormats = v.InferOutput<typeof TOLD_FORMATS>;

export const ownFormats = (): ToldFormats =>
  FORMAT_NAMES.map((name) => [name, FORMATS[name].min, FORMATS[name].max]);

/** Undefined: release 0.1.0, which does not tell them. A format that the peer does not name is of that release. */
export function formatsOf(told: ToldFormats | undefined): FormatRanges {
  const known = new Map((told ?? []).map(([name, min, max]) => [name, { min, max }]));
  return Object.fromEntries(
    FORMAT_NAMES.map((name) => [name, known.get(name) ?? OLDEST_FORMATS[name]]),
  ) as unknown as FormatRanges;
}

export const storedFormats = (told: ToldFormats | undefined): string => JSON.stringify(told ?? []);

/** null: the text is not one of `storedFormats`. */
export function readStoredFormats(text: string): FormatRanges | null {
  try {
    const result = v.safeParse(TOLD_FORMATS, JSON.parse(text));
    return result.success ? formatsOf(result.output) : null;
  } catch {
    return null;
  }
}
