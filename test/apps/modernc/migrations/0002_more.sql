-- +goose Up
ALTER TABLE account ADD COLUMN currency TEXT NOT NULL DEFAULT 'EUR';
ALTER TABLE transfer RENAME COLUMN memo TO note;
ALTER TABLE transfer RENAME TO movement;
DROP INDEX transfer_source;
CREATE INDEX movement_ends ON movement (source, target);
CREATE VIEW overview AS
  SELECT owner, sum(balance) AS total FROM account GROUP BY owner;
CREATE TABLE audit (
  movement TEXT NOT NULL PRIMARY KEY,
  amount INTEGER NOT NULL
);
-- +goose StatementBegin
CREATE TRIGGER movement_audit AFTER INSERT ON movement BEGIN
  INSERT INTO audit VALUES (new.id, new.amount);
END;
-- +goose StatementEnd
