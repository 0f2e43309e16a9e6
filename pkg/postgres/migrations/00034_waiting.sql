-- +goose Up

-- Whether an evaluation tells of a plan that waits for a confirmation.
ALTER TABLE evaluations ADD COLUMN waits boolean NOT NULL DEFAULT false;
UPDATE evaluations SET waits = true WHERE json_typeof(outcome) = 'array'
AND EXISTS (SELECT FROM json_array_elements(outcome) o WHERE o ->> 'waiting' IS NOT NULL);
CREATE INDEX evaluations_waits ON evaluations (repository, ref, environment) WHERE waits;
