-- +goose Up

-- The oldest schema whose binaries may still work with this database. A migration that takes something away raises it to
-- its own number; one that only adds leaves it, so that both versions run while an installation is upgraded.
CREATE TABLE schema_floor (
  one   boolean PRIMARY KEY DEFAULT true CHECK (one),
  floor bigint  NOT NULL
);
INSERT INTO schema_floor (floor) VALUES (18);
