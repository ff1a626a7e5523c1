/** `marmot doctor` and `marmot run` are one code path: each file and each line of options, tried with both. */
import { expect, test } from "bun:test";
import type { Inspection } from "../../src/node/offline/doctor.ts";
import type { NodeStatus } from "../../src/operations/api.ts";
import { CASES, Place } from "./doctor-cases.ts";

/** `run` with the options: its end, or its state when it has one. */
async function runOf(place: Place, options: readonly string[]): Promise<{ verdict: string; said: string }> {
  const child = place.run(...options);
  const said = new Response(child.stderr).text();
  const at = options.indexOf("--data-dir");
  const where = ["--data-dir", at === -1 ? `${place.db}.marmot` : options[at + 1]!];
  const end = performance.now() + 60_000;
  for (;;) {
    if (child.exitCode !== null)
      return { verdict: child.exitCode === 2 ? "usage" : "refused", said: await said };
    const { out } = await place.verb("status", ...where, "--json");
    const status = out === "" ? null : (JSON.parse(out) as NodeStatus);
    const isHalted = status !== null && !["ready", "waiting"].includes(status.node.state);
    if (status !== null && (status.node.ready || isHalted))
      return { verdict: isHalted ? "halted" : "runs", said: JSON.stringify([status.node, status.tables]) };
    if (performance.now() > end) throw new Error(`run neither ended nor became ready: ${out}`);
  }
}

/** Texts in JSON have escaped quotes. */
const plain = (text: string): string => text.replaceAll(/\\?"/g, "");

test.each(CASES.map((c) => [c.name, c] as const))(
  "%s",
  async (_name, { make, verdict, says = "" }) => {
    const place = new Place();
    try {
      const made = await make(place);
      const options = Array.isArray(made) ? (made as string[]) : [];
      const [json, text] = await Promise.all([
        place.verb("doctor", "--db", place.db, "--json", ...options),
        place.verb("doctor", "--db", place.db, ...options),
      ]);
      const ran = await runOf(place, options);
      expect([ran.verdict, plain(ran.said)]).toEqual([verdict, expect.stringContaining(says)]);
      const code = verdict === "usage" ? 2 : verdict === "runs" ? 0 : 1;
      expect([text.code, text.out + text.err]).toEqual([code, expect.stringContaining(says)]);
      expect([json.code, text.err]).toEqual([code, expect.not.stringContaining("    at ")]);
      if (verdict === "usage") return;
      const { problems, tables, replicates } = JSON.parse(json.out) as Inspection;
      expect(replicates).toBe(verdict === "runs");
      const kept = verdict === "runs" ? "held" : "refused";
      const reasons = tables.filter((t) => t.verdict === kept).map(({ reason }) => reason);
      for (const reason of [...problems.map(({ message }) => message), ...reasons])
        expect(plain(ran.said)).toContain(plain(reason));
      if (verdict !== "halted") return;
      const beside = await place.verb("doctor", "--db", place.db, "--json");
      const { running, problems: told } = JSON.parse(beside.out) as Inspection;
      expect([beside.code, running, told]).toEqual([1, true, problems]);
    } finally {
      await place.close();
    }
  },
  120_000,
);
