-- +goose Up

-- Runs with the same number here are deployed all or none, 0 for one that is on its own; atomic is what their Score files say.
-- What an older version makes is on its own.
CREATE SEQUENCE together;
ALTER TABLE runs ADD COLUMN together bigint NOT NULL DEFAULT 0;
CREATE INDEX runs_together ON runs (together) WHERE together > 0;
CREATE INDEX runs_atomic ON runs (repository, environment, atomic, together) WHERE together > 0;
-- Why a run cannot be taken back although another one that it is deployed with failed, NULL for all others.
ALTER TABLE runs ADD COLUMN kept json;
