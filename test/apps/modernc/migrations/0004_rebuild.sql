-- The procedure of SQLite's documentation for changes that ALTER TABLE cannot make.
-- +goose NO TRANSACTION
-- +goose Up
PRAGMA foreign_keys = OFF;
BEGIN IMMEDIATE;
CREATE TABLE account_new (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  owner TEXT NOT NULL COLLATE NOCASE,
  number INTEGER NOT NULL,
  balance INTEGER NOT NULL DEFAULT 0 CHECK (balance BETWEEN 0 AND 1000000),
  score REAL NOT NULL DEFAULT 0.0,
  currency TEXT NOT NULL,
  UNIQUE (owner, currency, number)
) STRICT;
INSERT INTO account_new SELECT id, owner, number, balance, score, currency FROM account;
DROP VIEW overview;
DROP TABLE account;
ALTER TABLE account_new RENAME TO account;
CREATE VIEW overview AS
  SELECT owner, currency, sum(balance) AS total FROM account GROUP BY owner, currency;
COMMIT;
PRAGMA foreign_keys = ON;
