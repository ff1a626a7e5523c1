/** A setting that holds for all tables but those that are named. */
import { foldName } from "../base/names.ts";

export interface PerTable<T extends string | number> {
  readonly usual: T;
  /** By table name in lower case. */
  readonly tables: Readonly<Record<string, T>>;
}

export const forAll = <T extends string | number>(usual: T): PerTable<T> => ({ usual, tables: {} });

export function settingOf<T extends string | number>(setting: PerTable<T>, table: string): T {
  const name = foldName(table);
  return Object.hasOwn(setting.tables, name) ? setting.tables[name]! : setting.usual;
}

/** In the form of the command line: `64,orders=16`. Equal settings give equal texts. */
export function showPerTable<T extends string | number>({ usual, tables }: PerTable<T>): string {
  const named = Object.keys(tables)
    .filter((name) => tables[name] !== usual)
    .sort();
  return [String(usual), ...named.map((name) => `${name}=${tables[name]}`)].join(",");
}
