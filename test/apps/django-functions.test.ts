/** The example functions for Django answer as Django's own. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { execute, installPython } from "./packages.ts";

const HERE = join(import.meta.dir, "django");
const CALLS = 100_000;
const installed = await installPython("django", HERE);
const { missing } = installed;

describe.skipIf(missing !== null)(
  `Django's functions${missing === null ? "" : ` (skipped: ${missing})`}`,
  () => {
    test(`give what Django gives, for ${CALLS} calls`, async () => {
      const python = join(installed.folder!, "venv/bin/python");
      const words = [python, join(HERE, "functions.py"), String(CALLS), "7"];
      const done = await execute({ words, folder: HERE });
      expect({ code: done.code, stderr: done.stderr }).toEqual({ code: 0, stderr: "" });
      const wrong: unknown[] = [];
      const path: string = join(import.meta.dir, "../../docs/examples/django-functions.js");
      const { default: known } = (await import(path)) as {
        default: Record<string, (...values: unknown[]) => unknown>;
      };
      const lines = done.stdout.trim().split("\n");
      for (const line of lines) {
        const [name, values, result] = JSON.parse(line) as [string, unknown[], unknown];
        const got = known[name]!(...values);
        if (got !== result) wrong.push([name, values, result, got]);
      }
      expect(wrong.slice(0, 20)).toEqual([]);
      expect(lines).toHaveLength(CALLS);
    }, 120_000);
  },
);
