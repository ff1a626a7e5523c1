/** Free ports for nodes that the demo or a test starts. */
import { createServer, type Server } from "node:net";

/**
 * Below the usual ranges for outgoing connections (Linux from 32768, others from 49152). A free port of such a range may
 * be taken by an outgoing connection before a node binds it, or while the node is stopped.
 */
const FIRST = 20_000;
const END = 32_768;
const TRIES = 1_000;

/** Ports that this process was given before. They are not given again, even if nothing listens there yet. */
const given = new Set<number>();

const listen = (port: number): Promise<Server | null> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => resolve(server));
  });

/** Different loopback ports on which nothing listens. */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  try {
    for (let tries = 0; ports.length < count; tries++) {
      if (tries === TRIES)
        throw new Error(`no free port of 127.0.0.1 from ${FIRST} to ${END - 1} in ${TRIES} tries`);
      const port = FIRST + Math.floor(Math.random() * (END - FIRST));
      if (given.has(port)) continue;
      const server = await listen(port);
      if (server === null) continue;
      held.push(server);
      given.add(port);
      ports.push(port);
    }
  } finally {
    await Promise.all(held.map((s) => new Promise((resolve) => s.close(resolve))));
  }
  return ports;
}
