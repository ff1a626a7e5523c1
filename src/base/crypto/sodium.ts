/** libsodium, loaded when it is first used: it takes 16 MB of memory and 20 ms of CPU, and most nodes never need it. */
export async function loadSodium(): Promise<typeof import("libsodium-wrappers").default> {
  const { default: sodium } = await import("libsodium-wrappers");
  await sodium.ready;
  return sodium;
}
