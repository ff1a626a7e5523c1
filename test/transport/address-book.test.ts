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
