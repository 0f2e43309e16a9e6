-- +goose Up

-- Whether an evaluation tells of a plan that waits for a confirmation.
ALTER TABLE evaluations ADD COLUMN waits boolean NOT NULL DEFAULT false;
CREATE INDEX evaluations_waits ON evaluations (repository, ref, environment) WHERE waits;
