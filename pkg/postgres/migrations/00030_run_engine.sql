-- +goose Up

-- Golden paths: a run keeps those that it began with, NULL for one that only deploys its release.
ALTER TABLE runs ADD COLUMN paths json;
-- What the run waits for, for people: an approval, or that it is resumed.
ALTER TABLE runs ADD COLUMN waits text NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN paused_by text;
ALTER TABLE runs ADD COLUMN paused_at timestamptz;

ALTER TABLE steps DROP CONSTRAINT steps_state_check;
ALTER TABLE steps ADD CONSTRAINT steps_state_check
  CHECK (state IN ('waiting', 'running', 'parked', 'succeeded', 'skipped', 'failed', 'cancelled'));
-- The step that this one belongs to, '' for none, and its id in its golden path, '' for a step of a release.
ALTER TABLE steps ADD COLUMN parent text NOT NULL DEFAULT '';
ALTER TABLE steps ADD COLUMN id text NOT NULL DEFAULT '';
-- What it runs for, if it is one item of a for_each, and what it gave, encrypted.
ALTER TABLE steps ADD COLUMN item bytea;
ALTER TABLE steps ADD COLUMN outputs bytea;
-- When a parked step goes on, and since when people are asked to approve.
ALTER TABLE steps ADD COLUMN until timestamptz;
ALTER TABLE steps ADD COLUMN asked_at timestamptz;
-- One entry per failed attempt: {"attempt", "at", "code", "error"}.
ALTER TABLE steps ADD COLUMN failures jsonb NOT NULL DEFAULT '[]';
-- Bytes of its log, which end at a limit.
ALTER TABLE steps ADD COLUMN logged integer NOT NULL DEFAULT 0;
-- When what it did was undone because the run failed, or why that failed.
ALTER TABLE steps ADD COLUMN undone_at timestamptz;
ALTER TABLE steps ADD COLUMN undo_fault json;

CREATE TABLE approvals (
  run      bigint  NOT NULL REFERENCES runs ON DELETE CASCADE,
  step     text    NOT NULL,
  who      text    NOT NULL,
  approved boolean NOT NULL,
  reason   text    NOT NULL,
  at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run, step, who)
);

-- What steps leave for people to look at.
CREATE TABLE artefacts (
  run        bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
  step       text   NOT NULL,
  name       text   NOT NULL,
  media_type text   NOT NULL,
  content    bytea  NOT NULL,
  at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (run, step, name)
);
