-- +goose Up

-- How long the lease of a running job is, in microseconds, so that others can measure it by clocks of their own. Null:
-- taken by a version that does not tell; its default is 15 s.
ALTER TABLE jobs ADD COLUMN lease_us bigint;

-- The time that was last seen, to notice a clock that was set back. One row.
CREATE TABLE clock (
  one  boolean     PRIMARY KEY DEFAULT true CHECK (one),
  seen timestamptz NOT NULL
);
INSERT INTO clock (seen) VALUES (now());
