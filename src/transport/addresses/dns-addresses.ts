/**
 * Addresses that DNS lists under one name: `/dnsaddr/NAME` stands for the TXT records `dnsaddr=MULTIADDR` of `_dnsaddr.NAME`,
 * which may name further lists (https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md). The records are
 * read again and again, so that machines can come and go under one name.
 */
import { errorMessage } from "../../base/errors.ts";
import type { AddressProblem } from "../../shard/seams.ts";

const PREFIX = "/dnsaddr/";
const RECORD = "dnsaddr=";
/** Between two looks; shorter until the first one that finds an address. */
const AGAIN_MS = 30_000;
const SOON_MS = 2000;
/** Lists that one list may lead to. */
const MAX_LISTS = 16;
const MAX_ADDRESSES = 64;

export type ResolveTxt = (name: string) => Promise<readonly (readonly string[])[]>;

export const isDnsList = (multiaddr: string): boolean => multiaddr.startsWith(PREFIX);

/** `/dnsaddr/NAME/p2p/ID` ⇒ the name, and the id of the node that is wanted; null: all of the list. */
function splitList(multiaddr: string): { name: string; peer: string | null } {
  const [name = "", rest] = multiaddr.slice(PREFIX.length).split("/p2p/");
  return { name: name.replace(/\/$/, ""), peer: rest ?? null };
}

interface List {
  readonly multiaddr: string;
  dueAt: number;
  isLooking: boolean;
  /** As it was found last. */
  addresses: readonly string[];
  problem: string | null;
}

export interface DnsAddressesComponents {
  readonly resolveTxt: ResolveTxt;
  readonly now: () => number;
  readonly onAdded: (multiaddrs: readonly string[]) => void;
  /** The list does not have them any more. */
  readonly onDropped: (multiaddrs: readonly string[]) => void;
}

export class DnsAddresses {
  readonly #components: DnsAddressesComponents;
  readonly #lists: readonly List[];

  constructor(multiaddrs: readonly string[], components: DnsAddressesComponents) {
    this.#components = components;
    this.#lists = multiaddrs.map((multiaddr) => ({
      ...{ multiaddr, dueAt: Number.NEGATIVE_INFINITY, isLooking: false },
      ...{ addresses: [], problem: null },
    }));
  }

  /** Looks at the lists that are due. */
  tick(): void {
    const now = this.#components.now();
    for (const list of this.#lists) if (!list.isLooking && now >= list.dueAt) void this.#look(list);
  }

  problems(): AddressProblem[] {
    return this.#lists.flatMap(({ multiaddr: address, problem: reason }) =>
      reason === null ? [] : [{ address, reason }],
    );
  }

  async #look(list: List): Promise<void> {
    const { now, onAdded, onDropped } = this.#components;
    list.isLooking = true;
    try {
      const found = await this.#resolve(list.multiaddr);
      const isNew = (address: string): boolean => !list.addresses.includes(address);
      const added = found.filter(isNew);
      const dropped = list.addresses.filter((address) => !found.includes(address));
      list.addresses = found;
      list.problem = found.length === 0 ? `DNS lists no address under ${recordName(list.multiaddr)}` : null;
      if (added.length > 0) onAdded(added);
      if (dropped.length > 0) onDropped(dropped);
    } catch (error) {
      // The addresses of the last look stay: DNS may be away for a while.
      const { code = errorMessage(error) } = error as { code?: string };
      list.problem = `DNS gives no TXT record of ${recordName(list.multiaddr)} (${code})`;
    } finally {
      list.isLooking = false;
      list.dueAt = now() + (list.problem === null ? AGAIN_MS : SOON_MS);
    }
  }

  /** The addresses of a list, and of the lists that it names. */
  async #resolve(start: string): Promise<string[]> {
    const found = new Set<string>();
    const seen = new Set<string>();
    const open = [start];
    for (let list = open.shift(); list !== undefined && seen.size < MAX_LISTS; list = open.shift()) {
      if (seen.has(list)) continue;
      seen.add(list);
      const { name, peer } = splitList(list);
      const records = await this.#components.resolveTxt(`_dnsaddr.${name}`);
      for (const record of records.map((parts) => parts.join(""))) {
        const address = record.startsWith(RECORD) ? record.slice(RECORD.length).trim() : "";
        if (!address.startsWith("/") || (peer !== null && !address.endsWith(`/p2p/${peer}`))) continue;
        if (isDnsList(address)) open.push(address);
        else if (found.size < MAX_ADDRESSES) found.add(address);
      }
    }
    return [...found];
  }
}

const recordName = (multiaddr: string): string => `_dnsaddr.${splitList(multiaddr).name}`;
