-- +goose Up

-- Kinds of jobs that nobody may start for now; '' is all of them.
CREATE TABLE pauses (
  kind   text PRIMARY KEY,
  by     text        NOT NULL,
  reason text        NOT NULL,
  at     timestamptz NOT NULL DEFAULT now()
);

-- Whose work it is, OWNER/REPOSITORY, so that one of them cannot take all workers; '' is nobody's.
ALTER TABLE jobs ADD COLUMN owner text NOT NULL DEFAULT '';
ALTER TABLE job_history ADD COLUMN owner text NOT NULL DEFAULT '';
