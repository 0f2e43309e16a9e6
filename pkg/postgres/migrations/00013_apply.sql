-- +goose Up

-- Runs and what they left in the world (package apply). Every row that a run writes carries the fencing token of its
-- lease: a worker that lost it cannot write any more.
CREATE TABLE runs (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  application bigint NOT NULL,
  environment text   NOT NULL,
  name        text   NOT NULL,
  repository  text   NOT NULL,
  generation  bigint NOT NULL,
  kind        text   NOT NULL CHECK (kind IN ('deploy', 'rollback', 'remove')),
  state       text   NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'superseded', 'cancelled')),
  plan        text   NOT NULL,
  commit      text   NOT NULL,
  attempt     integer NOT NULL DEFAULT 0,
  token       bigint NOT NULL DEFAULT 0,
  -- How many things outside were changed.
  writes      integer NOT NULL DEFAULT 0,
  fault       json,
  created_at  timestamptz NOT NULL DEFAULT now(),
  started_at  timestamptz,
  finished_at timestamptz,
  UNIQUE (application, generation)
);
CREATE INDEX runs_commit ON runs (repository, commit);
CREATE INDEX runs_application ON runs (application, generation DESC);

CREATE TABLE steps (
  run         bigint  NOT NULL REFERENCES runs ON DELETE CASCADE,
  position    integer NOT NULL,
  name        text    NOT NULL,
  needs       text[]  NOT NULL DEFAULT '{}',
  state       text    NOT NULL CHECK (state IN ('waiting', 'running', 'succeeded', 'failed', 'skipped')),
  attempt     integer NOT NULL DEFAULT 0,
  -- What the step did, for people.
  detail      text    NOT NULL DEFAULT '',
  -- Where to go on after an interruption.
  checkpoint  json,
  fault       json,
  started_at  timestamptz,
  finished_at timestamptz,
  PRIMARY KEY (run, name)
);

CREATE TABLE run_logs (
  id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  run     bigint NOT NULL REFERENCES runs ON DELETE CASCADE,
  step    text   NOT NULL,
  at      timestamptz NOT NULL DEFAULT now(),
  message text   NOT NULL
);
CREATE INDEX run_logs_run ON run_logs (run, id);

CREATE TABLE resources (
  environment  text    NOT NULL,
  uid          text    NOT NULL,
  type         text    NOT NULL,
  class        text    NOT NULL,
  id           text    NOT NULL DEFAULT '',
  provisioner  text    NOT NULL,
  stateful     boolean NOT NULL,
  params       json,
  outputs      json,
  -- The provisioner's state, encrypted.
  state        bytea,
  -- Workloads that use it; the first that gave params describes a shared one.
  users        text[]  NOT NULL,
  described_by text    NOT NULL DEFAULT '',
  token        bigint  NOT NULL,
  deleted_at   timestamptz,
  updated_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (environment, uid)
);

-- State that all resources of an environment share, encrypted.
CREATE TABLE shared_states (
  environment text PRIMARY KEY,
  state       bytea NOT NULL,
  updated_at  timestamptz NOT NULL DEFAULT now()
);

-- Objects that are in a target, by who needs them.
CREATE TABLE inventories (
  environment text   NOT NULL,
  key         text   NOT NULL,
  application bigint NOT NULL,
  unit        text   NOT NULL,
  -- Where the target keeps it, relative to the environment's folder.
  path        text   NOT NULL,
  digest      text   NOT NULL,
  token       bigint NOT NULL,
  PRIMARY KEY (environment, key, application)
);
CREATE INDEX inventories_application ON inventories (application);
