import { describe, expect, test } from "bun:test";
import { checkListen, checkPeer, checkReachable, parseMultiaddr } from "../../src/cli/options/multiaddr.ts";

const ID = "12D3KooWGRUfZ1NZzbCXMJBkWnxVWXVGXkGbZ6fTGuDVEhPzkcCx";

describe("valid multiaddrs", () => {
  for (const [text, host, port] of [
    ["/ip4/10.0.0.1/tcp/8160", "10.0.0.1", 8160],
    ["/ip6/::1/tcp/1", "::1", 1],
    ["/dns/node-1/tcp/65535", "node-1", 65_535],
    ["/dns4/node_1.example.com/tcp/8160", "node_1.example.com", 8160],
    [`/dns6/node/tcp/8160/p2p/${ID}`, "node", 8160],
  ] as const)
    test(text, () => {
      expect(parseMultiaddr(text)).toMatchObject({ host, port });
      expect(checkReachable(text)).toBe(null);
    });
});

describe("refused multiaddrs", () => {
  for (const text of [
    "",
    "node-1:8160",
    "10.0.0.1",
    "/ip4/10.0.0.256/tcp/8160",
    "/ip4/10.0.0/tcp/8160",
    "/ip6/10.0.0.1/tcp/8160",
    "/ip6/::g/tcp/8160",
    "/dns/-/tcp/8160",
    "/dns/a..b/tcp/8160",
    "/dns/node 1/tcp/8160",
    "/ip4/10.0.0.1/tcp/65536",
    "/ip4/10.0.0.1/tcp/0",
    "/ip4/10.0.0.1/tcp/",
    "/ip4/10.0.0.1/udp/8160",
    "/ip4/10.0.0.1/tcp/8160/ws",
    "/ip4/10.0.0.1/tcp/8160/",
    "ip4/10.0.0.1/tcp/8160",
    "/ip4/10.0.0.1/tcp/8160/p2p/",
    "/ip4/10.0.0.1/tcp/8160/p2p/not-an-id",
    `/ip4/10.0.0.1/tcp/8160/p2p/${ID.replace("Z", "0")}`,
  ])
    test(text || "nothing", () => expect(checkReachable(text)).toContain("a multiaddr such as"));
});

test("a peer may be a list of addresses in DNS, and nothing else may", () => {
  for (const text of ["/dnsaddr/cluster.example.com", `/dnsaddr/cluster/p2p/${ID}`, "/dns/node-1/tcp/8160"])
    expect(checkPeer(text)).toBe(null);
  for (const text of [
    "/dnsaddr/",
    "/dnsaddr/a b",
    "/dnsaddr/cluster/p2p/x",
    "/dnsaddr/cluster/tcp/8160",
    "node-1",
  ])
    expect(checkPeer(text)).toContain("or /dnsaddr/NAME");
  expect(checkReachable("/dnsaddr/cluster.example.com")).not.toBe(null);
});

test("a listen address is an IP address without a peer id; its port may be 0", () => {
  expect(checkListen("/ip4/0.0.0.0/tcp/0")).toBe(null);
  expect(checkListen("/ip6/::/tcp/8160")).toBe(null);
  for (const text of ["/dns/localhost/tcp/1", `/ip4/1.2.3.4/tcp/1/p2p/${ID}`])
    expect(checkListen(text)).not.toBe(null);
});
