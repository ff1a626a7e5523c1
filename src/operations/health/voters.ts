/** The voters of a cluster that a node is connected to. Pure. */
import type { GroupConfiguration, PeerId } from "../../shard/seams.ts";

export function votersInTouch(
  { members, configuration }: Pick<GroupConfiguration, "members" | "configuration">,
  { peerId, connected }: { readonly peerId: PeerId; readonly connected: readonly PeerId[] },
): { readonly voters: number; readonly inTouch: number } {
  const voters = members.filter((m) => configuration.voters.includes(m.id));
  const inTouch = voters.filter((m) => m.peerId === peerId || connected.includes(m.peerId));
  return { voters: voters.length, inTouch: inTouch.length };
}
