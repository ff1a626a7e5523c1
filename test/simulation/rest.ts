/** Whether the cluster has settled: every change is ordered and reflected on every node, and no task waits. */
import type { SimNode } from "./sim-node.ts";

/** Why they are not; empty: they are. */
export function unsettled(present: readonly SimNode[]): string[] {
  const out: string[] = [];
  let common: string | null = null;
  for (const node of present) {
    const { member } = node;
    if (member === null) {
      out.push(`${node.name} is ${node.state}, ${node.starting}`);
      continue;
    }
    const { replica } = member.replica;
    const vector = replica.positions().join(",");
    common ??= vector;
    if (vector !== common) out.push(`${node.name} stands at ${vector}, another node at ${common}`);
    else if (member.readiness.reflected.join(",") !== vector || replica.changed.size > 0)
      out.push(`${node.name} does not show ${vector}`);
    else if (!member.pipeline.outbox.idle || member.pending.size > 0)
      out.push(`${node.name} has ${member.pending.size} rows pending`);
    else if (member.pipeline.schemaDue || member.reader.schemaMovedBeside())
      out.push(`${node.name} has not the cluster's schema`);
    else if (node.application.holds) out.push(`the application of ${node.name} is at work`);
    else if (
      [...member.reader.newestIds()].some(
        ([table, id]) => id > member.pipeline.session.cursors.ordered(table),
      )
    )
      out.push(`${node.name} has not looked at its change logs`);
    if (out.length > 0) break;
    const notReady = node.node!.api.notReady();
    if (notReady !== null) out.push(`${node.name} is not ready: ${notReady}`);
  }
  return out;
}
