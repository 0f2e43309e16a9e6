-- +goose Up

-- How long the lease of a running job is, in microseconds, so that others can measure it by clocks of their own. Null:
-- taken by a version that does not tell; its default is 15 s.
ALTER TABLE jobs ADD COLUMN lease_us bigint;

-- When run_at was written, to know those that come from a clock that was set back since. Null: with created_at, or by a
-- version that does not tell.
ALTER TABLE jobs ADD COLUMN put_at timestamptz;
