/** Multiaddrs in options: a host, a TCP port and optionally a peer id. https://github.com/multiformats/multiaddr */
import { isIPv4, isIPv6 } from "node:net";

export interface HostAndPort {
  readonly kind: "ip4" | "ip6" | "dns" | "dns4" | "dns6";
  readonly host: string;
  readonly port: number;
}

const SHAPE = /^\/(ip4|ip6|dns|dns4|dns6)\/([^/\s]+)\/tcp\/(\d{1,5})(?:\/p2p\/([^/\s]+))?$/;
/** Labels of letters, digits, dashes and underscores (used in names of containers). */
const DNS_NAME =
  /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\.?$/;
/** An identity or SHA-256 multihash in base58. */
const PEER_ID = /^[1-9A-HJ-NP-Za-km-z]{40,64}$/;

const DNS_LIST = "/dnsaddr/";

/** null: not such a multiaddr. */
export function parseMultiaddr(text: string): HostAndPort | null {
  const match = SHAPE.exec(text);
  if (match === null) return null;
  const kind = match[1] as HostAndPort["kind"];
  const host = match[2]!;
  const port = Number(match[3]);
  const good = kind === "ip4" ? isIPv4(host) : kind === "ip6" ? isIPv6(host) : DNS_NAME.test(host);
  const peerId = match[4];
  if (!good || port > 65_535 || (peerId !== undefined && !PEER_ID.test(peerId))) return null;
  return { kind, host, port };
}

/** Checks for options: null, or the expected form. */

export const checkListen = (text: string): string | null => {
  const found = parseMultiaddr(text);
  return found !== null && !found.kind.startsWith("dns") && !text.includes("/p2p/")
    ? null
    : "a multiaddr such as /ip4/0.0.0.0/tcp/8160, an address of this machine";
};

/** Also a list of addresses in DNS. */
export const checkPeer = (text: string): string | null => {
  const [name = "", id] = text.startsWith(DNS_LIST) ? text.slice(DNS_LIST.length).split("/p2p/") : [];
  if (DNS_NAME.test(name) && (id === undefined || PEER_ID.test(id))) return null;
  const expected = checkReachable(text);
  return expected === null ? null : `${expected}, or /dnsaddr/NAME`;
};

export const checkReachable = (text: string): string | null => {
  const found = parseMultiaddr(text);
  return found !== null && found.port > 0
    ? null
    : "a multiaddr such as /dns/node-1/tcp/8160 or /ip4/10.0.0.1/tcp/8160, with or without /p2p/ID";
};
