/** The screen that `marmot run` prints when the node has started. */
import { shellWord } from "../../base/text/spans.ts";
import { basename } from "node:path";
import type { NodeOptions } from "../../node/options.ts";
import type { RunningNode } from "../../node/handle.ts";

/** Tables that are named; the rest is counted. */
const MAX_NAMES = 24;
const MAX_SKIPPED = 8;
const MAX_ADDRESSES = 6;

/** The same facts for a log in JSON. */
export const startFields = ({ started, api }: RunningNode, url: string | null): Record<string, unknown> => ({
  node: started.name,
  peerId: started.peerId,
  listens: started.addresses,
  dashboard: url,
  cluster: started.clusterId,
  replicates: started.replicated,
  skips: started.skipped,
  notes: started.notes,
  waitsFor: api.notReady(),
});

export function screen({ started, api }: RunningNode, url: string | null, options: NodeOptions): string[] {
  const lines = [`node       ${started.name} ${started.peerId}`];
  const rest = (count: number, shown: number, unit: string): void => {
    if (count > shown) lines.push(`           and ${count - shown} more ${unit}`);
  };
  started.addresses
    .slice(0, MAX_ADDRESSES)
    .forEach((address, i) => lines.push(`${i === 0 ? "listens   " : "          "} ${address}`));
  rest(started.addresses.length, MAX_ADDRESSES, "addresses");
  lines.push(`dashboard  ${url ?? "off"}`);
  if (started.clusterId !== "") lines.push(`cluster    ${started.clusterId}`);
  if (started.replicated.length > 0) {
    const more = started.replicated.length - MAX_NAMES;
    const names = started.replicated.slice(0, MAX_NAMES).join(", ");
    lines.push(`replicates ${names}${more > 0 ? ` and ${more} more` : ""}`);
  }
  for (const { name, reason } of started.skipped.slice(0, MAX_SKIPPED))
    lines.push(`skips      ${name}: ${reason}`);
  rest(started.skipped.length, MAX_SKIPPED, "tables");
  for (const note of started.notes) lines.push(`note       ${note}`);
  const address =
    started.addresses.find((a) => !/^\/(?:ip4\/127\.|ip6\/::1\/)/.test(a)) ?? started.addresses[0];
  if (options.peers.length === 0 && started.clusterId !== "" && address !== undefined)
    lines.push(
      `to join    marmot run --db ${shellWord(basename(options.db))} --peers ${address} --cluster-key ${options.clusterKeyFile ?? "cluster.key"}`,
    );
  const waiting = api.notReady();
  if (waiting !== null) lines.push(`waits for  ${waiting}`);
  return lines;
}
