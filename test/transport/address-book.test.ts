import { expect, test } from "bun:test";
import { Random } from "../../src/base/random.ts";
import { AddressBook } from "../../src/transport/address-book.ts";

const ADDRESS = "/ip4/127.0.0.1/tcp/1";
const nobody = (): boolean => false;

function dialled(): AddressBook {
  const book = new AddressBook("self", new Random(1));
  book.add([ADDRESS], 0);
  book.due(0, nobody);
  book.answered(ADDRESS, "peer", 0);
  return book;
}

test("the addresses of a peer whose link broke are dialled again soon", () => {
  const book = dialled();
  book.hurry("peer", 1000);
  expect(book.due(1200, nobody)).toEqual([ADDRESS]);
});

test("the addresses of a peer that refused this node rest, also when its link breaks then", () => {
  const book = dialled();
  book.refused("peer", 1000, "no");
  book.hurry("peer", 1000);
  expect(book.due(3900, nobody)).toEqual([]);
  expect(book.due(4000, nobody)).toEqual([ADDRESS]);
});

test("a peer that was never dialled is remembered with the addresses that it told, and forgotten like any that never worked", () => {
  const book = dialled();
  const told = ["/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"];
  book.learn("other", told, 0, 0);
  const worked = [`${ADDRESS}/p2p/peer`];
  expect(book.toRemember(nobody)).toEqual({ worked, told: [] });
  const remembered = book.toRemember((peer) => peer === "other");
  expect(remembered).toEqual({ worked, told: told.map((address) => `${address}/p2p/other`) });
  const next = new AddressBook("self", new Random(1));
  next.remember(remembered, 0);
  for (let now = 0; now < 60_000; now += 100)
    for (const address of next.due(now, nobody)) next.failed(address, now, "no answer", true);
  expect(next.of("other")).toEqual([]);
  expect(next.of("peer")).toEqual([ADDRESS]);
});
