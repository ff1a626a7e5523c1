/** `--peers /dnsaddr/NAME`, and `--discover mdns`. */
import { afterEach, describe, expect, test } from "bun:test";
import { createSocket, type Socket } from "node:dgram";
import { Resolver } from "node:dns/promises";
import { DnsAddresses, type ResolveTxt } from "../../src/transport/addresses/dns-addresses.ts";
import { linked, peer, type TestPeer, until } from "./lab.ts";

const peers: TestPeer[] = [];
const servers: Socket[] = [];
afterEach(async () => {
  await Promise.all(peers.splice(0).map(({ transport }) => transport.stop()));
  for (const server of servers.splice(0)) server.close();
});

const start = async (options: Parameters<typeof peer>[0]): Promise<TestPeer> => {
  const one = await peer(options);
  peers.push(one);
  return one;
};

/** A name server on loopback that answers questions for TXT records. */
async function nameServer(records: Map<string, readonly string[]>): Promise<ResolveTxt> {
  const server = createSocket("udp4");
  servers.push(server);
  server.on("message", (query, from) => {
    const labels: string[] = [];
    let at = 12;
    for (; query[at]! > 0; at += query[at]! + 1)
      labels.push(query.subarray(at + 1, at + 1 + query[at]!).toString("latin1"));
    const texts = records.get(labels.join("."));
    const question = query.subarray(12, at + 5);
    const head = Buffer.from([
      query[0]!,
      query[1]!,
      0x81,
      texts === undefined ? 0x83 : 0x80,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
    head.writeUInt16BE(texts?.length ?? 0, 6);
    const answers = (texts ?? []).map((text) => {
      const data = Buffer.from(text, "latin1");
      const answer = Buffer.from([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, 0, data.length]);
      answer.writeUInt16BE(data.length + 1, 10);
      return Buffer.concat([answer, data]);
    });
    server.send(Buffer.concat([head, question, ...answers]), from.port, from.address);
  });
  await new Promise<void>((resolve) => server.bind(0, "127.0.0.1", resolve));
  const resolver = new Resolver({ timeout: 2000 });
  resolver.setServers([`127.0.0.1:${server.address().port}`]);
  return (name) => resolver.resolveTxt(name);
}

test("a node finds peers by the list of a name server, and checks the id of the one that answers", async () => {
  const a = await start({});
  const [address] = a.transport.addresses() as [string];
  const records = new Map([
    ["_dnsaddr.cluster.test", ["v=spf1 -all", "dnsaddr=/dnsaddr/inner.test"]],
    ["_dnsaddr.inner.test", [`dnsaddr=${address}`]],
    [
      "_dnsaddr.wrong.test",
      [`dnsaddr=${address.split("/p2p/")[0]}/p2p/12D3KooWGRUfZ1NZzbCXMJBkWnxVWXVGXkGbZ6fTGuDVEhPzkcCx`],
    ],
  ]);
  const resolveTxt = await nameServer(records);
  const b = await start({ peers: ["/dnsaddr/cluster.test"], resolveTxt });
  await until(() => linked(a, b), "the two are connected");
  const c = await start({ peers: ["/dnsaddr/wrong.test", "/dnsaddr/none.test"], resolveTxt });
  await until(
    () => c.transport.problems().some(({ reason }) => reason.includes(`node ${a.transport.peerId} answers`)),
    "the other id is named",
  );
  expect(c.transport.problems()).toContainEqual({
    address: "/dnsaddr/none.test",
    reason: expect.stringContaining("DNS gives no TXT record of _dnsaddr.none.test"),
  });
  expect(c.transport.connected()).toEqual([]);
});

describe("a list", () => {
  const setup = (multiaddr: string, answer: () => string[]) => {
    let now = 0;
    const log: string[] = [];
    const lists = new DnsAddresses([multiaddr], {
      resolveTxt: () => Promise.resolve(answer().map((text) => [text])),
      now: () => now,
      onAdded: (all) => log.push(`+${all.join(" ")}`),
      onDropped: (all) => log.push(`-${all.join(" ")}`),
    });
    const look = async (at: number): Promise<void> => {
      now = at;
      lists.tick();
      await Bun.sleep(0);
    };
    return { lists, log, look };
  };

  test("is read again, and addresses come and go with it", async () => {
    let listed = ["dnsaddr=/ip4/10.0.0.1/tcp/1"];
    const { log, look } = setup("/dnsaddr/c.test", () => listed);
    await look(0);
    listed = ["dnsaddr=/ip4/10.0.0.2/tcp/1"];
    await look(1000);
    expect(log).toEqual(["+/ip4/10.0.0.1/tcp/1"]);
    await look(31_000);
    expect(log.slice(1)).toEqual(["+/ip4/10.0.0.2/tcp/1", "-/ip4/10.0.0.1/tcp/1"]);
  });

  test("keeps its addresses while DNS is away, and names the error", async () => {
    let isAway = false;
    const { lists, log, look } = setup("/dnsaddr/c.test", () => {
      if (isAway) throw Object.assign(new Error("no"), { code: "ESERVFAIL" });
      return ["dnsaddr=/ip4/10.0.0.1/tcp/1"];
    });
    await look(0);
    isAway = true;
    await look(31_000);
    expect(log).toHaveLength(1);
    expect(lists.problems()).toEqual([
      { address: "/dnsaddr/c.test", reason: "DNS gives no TXT record of _dnsaddr.c.test (ESERVFAIL)" },
    ]);
  });

  test("with an id has only the addresses of that node, and a list that names itself ends", async () => {
    const { log, look } = setup("/dnsaddr/c.test/p2p/B", () => [
      "dnsaddr=/ip4/10.0.0.1/tcp/1/p2p/A",
      "dnsaddr=/dnsaddr/c.test/p2p/B",
      "dnsaddr=/ip4/10.0.0.2/tcp/1/p2p/B",
    ]);
    await look(0);
    expect(log).toEqual(["+/ip4/10.0.0.2/tcp/1/p2p/B"]);
  });
});

/** Whether multicast reaches the sender here: containers often have no such network. */
async function hasMulticast(): Promise<boolean> {
  const socket = createSocket({ type: "udp4", reuseAddr: true });
  try {
    await new Promise<void>((resolve) => socket.bind(53_535, resolve));
    socket.addMembership("224.0.0.251");
    const heard = new Promise<boolean>((resolve) => socket.on("message", () => resolve(true)));
    socket.send("?", 53_535, "224.0.0.251", () => {});
    return await Promise.race([heard, Bun.sleep(1000).then(() => false)]);
  } catch {
    return false;
  } finally {
    socket.close();
  }
}

const canMulticast = await hasMulticast();

test.skipIf(!canMulticast)(
  `nodes on one network find each other by mDNS${canMulticast ? "" : ", skipped: there is no multicast here"}`,
  async () => {
    const listen = ["/ip4/0.0.0.0/tcp/0"];
    const [a, b] = [await start({ listen, mdns: true }), await start({ listen, mdns: true })];
    await until(() => linked(a, b), "the two are connected");
  },
);
