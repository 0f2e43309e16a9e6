-- +goose Up

-- The runs that an evaluation tells of: its own, and those of earlier commits that it found under way.
ALTER TABLE evaluations ADD COLUMN runs bigint[] NOT NULL DEFAULT '{}';
CREATE INDEX evaluations_runs ON evaluations USING gin (runs);
