/** Loopback addresses: they lead from another machine to that machine itself. */

export const isLoopbackAddress = (address: string): boolean =>
  /^\/(?:ip4\/127\.|ip6\/::1\/|dns[46]?\/localhost\/)/.test(address);

/** The addresses to tell peers: loopback addresses only where there are no others. */
export function announced(addresses: readonly string[]): string[] {
  const others = addresses.filter((address) => !isLoopbackAddress(address));
  return others.length > 0 ? others : [...addresses];
}
