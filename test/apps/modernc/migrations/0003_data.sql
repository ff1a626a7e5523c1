-- +goose Up
INSERT INTO audit SELECT id, amount FROM movement;
UPDATE account SET score = balance / 10.0 WHERE score IS NULL;
ALTER TABLE account DROP COLUMN legacy;
