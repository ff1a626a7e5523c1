/** Ports for nodes that a program starts by itself: the demo, and clusters under test. */
import { createServer, type Server } from "node:net";

/**
 * Below every usual system's range for outgoing connections (Linux from 32768, others from 49152): a port of that range
 * that is free now may be some connection's own end when its node binds it, or when the node comes back after a stop.
 */
const FIRST = 20_000;
const END = 32_768;
const TRIES = 1_000;

/** What this process was given before is not given again, though nothing may listen there yet. */
const given = new Set<number>();

const listen = (port: number): Promise<Server | null> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => resolve(server));
  });

/** Ports of loopback that nothing listens on, all different. */
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
