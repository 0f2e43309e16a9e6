-- +goose Up

-- The runs that an evaluation tells of: its own, and those of earlier commits that it found under way.
ALTER TABLE evaluations ADD COLUMN runs bigint[] NOT NULL DEFAULT '{}';
UPDATE evaluations SET runs = coalesce((SELECT array_agg((o ->> 'run')::bigint) FROM json_array_elements(outcome) o WHERE o ->> 'run' IS NOT NULL), '{}')
WHERE json_typeof(outcome) = 'array';
CREATE INDEX evaluations_runs ON evaluations USING gin (runs);
