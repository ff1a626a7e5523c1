-- +goose Up
CREATE TABLE account (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL COLLATE NOCASE,
  number INTEGER NOT NULL,
  balance INTEGER NOT NULL DEFAULT 0 CHECK (balance >= 0),
  score REAL,
  legacy,
  UNIQUE (owner, number)
);
CREATE TABLE transfer (
  id TEXT NOT NULL PRIMARY KEY,
  source INTEGER NOT NULL REFERENCES account (id),
  target INTEGER NOT NULL REFERENCES account (id),
  amount INTEGER NOT NULL CHECK (amount > 0),
  memo TEXT
) WITHOUT ROWID;
CREATE INDEX transfer_source ON transfer (source);
