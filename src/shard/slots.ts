/**
 * A small number for each member, its own while it is one: given with the admission, so every node that applied the same
 * configuration knows the same. Blocks of ids are dealt out by it.
 */
import type { MemberInfo, PeerId } from "./seams.ts";

/** Slots that are dealt out at least, so that the first joiners change nothing for those who are there. */
const MIN_SLOTS = 8;

export interface Slot {
  readonly slot: number;
  /** A power of two above every member's slot. */
  readonly slots: number;
}

const slotAt = (members: readonly MemberInfo[], i: number): number => members[i]!.slot ?? i;

/** The lowest number that no member has. */
export function freeSlot(members: readonly MemberInfo[]): number {
  const taken = new Set(members.map((_, i) => slotAt(members, i)));
  let slot = 0;
  while (taken.has(slot)) slot++;
  return slot;
}

/** null: the peer is no member. */
export function slotOf(members: readonly MemberInfo[], peer: PeerId): Slot | null {
  const at = members.findIndex((m) => m.peerId === peer);
  if (at === -1) return null;
  let slots = MIN_SLOTS;
  for (let i = 0; i < members.length; i++) while (slotAt(members, i) >= slots) slots *= 2;
  return { slot: slotAt(members, at), slots };
}
