-- +goose Up

-- Work that comes back by itself, once for the whole installation: one row per kind of job, which any replica may fire.
CREATE TABLE schedules (
  kind    text PRIMARY KEY,
  next_at timestamptz NOT NULL
);

-- Somebody asked that the job does not wait for its time. On a running job it says so for when it is put off.
ALTER TABLE jobs ADD COLUMN hastened boolean NOT NULL DEFAULT false;
