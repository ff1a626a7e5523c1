/** The reach of an archive, and its pruning by hand. */
import { openArchive } from "../../archive/archive.ts";
import { type Keep, prune, type Pruned } from "../../archive/prune.ts";
import { systemClock } from "../../base/clock.ts";
import { UserError } from "../../base/errors.ts";
import { showPosition } from "../../base/text/position-token.ts";
import type { ArchiveStatus } from "../../operations/archive-api.ts";

export interface ArchiveReport {
  readonly to: string;
  readonly cluster: string;
  readonly encrypted: boolean;
  /** null: it has no snapshot yet. */
  readonly first: { readonly position: string; readonly time: string } | null;
  /** `until`: nothing else was ordered until then. null: it has no link yet. */
  readonly last: { readonly position: string; readonly time: string; readonly until: string } | null;
  readonly links: number;
  readonly snapshots: number;
  /** The node that was asked; null: none was. */
  readonly node: ArchiveStatus | null;
}

const iso = (time: number): string => new Date(time).toISOString();

export async function archiveReport(
  to: string,
  keyFile: string | null,
  node: ArchiveStatus | null,
): Promise<ArchiveReport> {
  const archive = await openArchive(to, keyFile);
  const { cluster, key } = archive.document;
  const [extent, snapshots, head] = [await archive.extent(), await archive.snapshots(), await archive.head()];
  const end = extent === null ? null : await archive.link(extent.last);
  const [first] = snapshots;
  return {
    ...{ to: archive.shown, cluster, encrypted: key !== "" },
    first: first === undefined ? null : { position: showPosition(first.positions), time: iso(first.at) },
    last:
      end === null
        ? null
        : {
            position: showPosition(end.link.to),
            time: iso(end.link.since),
            until: iso(Math.max(end.link.since, head?.until ?? 0)),
          },
    links: extent === null ? 0 : extent.last - extent.first + 1,
    ...{ snapshots: snapshots.length, node },
  };
}

export async function pruneArchive(
  to: string,
  keyFile: string | null,
  keep: Keep,
): Promise<Pruned & { readonly to: string; readonly first: string }> {
  if (keep.ms === null && keep.snapshots === null)
    throw new UserError(
      "the node keeps all of its archive",
      "say how much is to be kept with --archive-keep 30d",
    );
  const archive = await openArchive(to, keyFile);
  const pruned = await prune(archive, keep, systemClock.wallTime());
  const [first] = await archive.snapshots();
  return { ...pruned, to: archive.shown, first: first === undefined ? "" : showPosition(first.positions) };
}
