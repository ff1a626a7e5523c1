/**
 * A small number for each member, unique while it is one. It is assigned with the admission, so every node that
 * applied the
 * same configuration knows the same. Blocks of ids are assigned by it.
 */
import type { MemberInfo, PeerId } from "./seams.ts";

/** The number of slots starts here, so that the first joiners do not change the blocks of existing members. */
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
