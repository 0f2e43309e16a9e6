-- +goose Up

-- What became of a revision in an environment (package reconcile).
CREATE TABLE evaluations (
  repository  text   NOT NULL,
  commit      text   NOT NULL,
  environment text   NOT NULL,
  -- The branch, or the number of the pull request as #7.
  ref         text   NOT NULL,
  generation  bigint NOT NULL,
  -- Per application: plan, generation, faults.
  outcome     json   NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (repository, ref, environment, commit)
);
CREATE INDEX evaluations_commit ON evaluations (repository, commit);
