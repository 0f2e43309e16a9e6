-- +goose Up

-- Versions of the platform configuration (package platform). Valid ones are kept whole, so that every replica plans
-- with the same; of invalid ones the faults are kept.
CREATE TABLE platform_revisions (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  digest     text NOT NULL,
  source     text NOT NULL,
  commit     text NOT NULL DEFAULT '',
  files      json,
  faults     json,
  valid      boolean NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
