-- +goose Up

-- Applications, releases and plans (package planner).
CREATE TABLE applications (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  environment text   NOT NULL,
  -- metadata.name of the Score file; owned by this application until it is removed.
  name        text   NOT NULL,
  repository  text   NOT NULL,
  -- Path of the Score file, with #2 and so on for further documents of the file.
  path        text   NOT NULL,
  -- The newest desired generation, and the one that was applied last; they only grow.
  generation  bigint NOT NULL DEFAULT 0,
  applied     bigint NOT NULL DEFAULT 0,
  -- Digest of everything that the newest evaluation read.
  inputs      text   NOT NULL DEFAULT '',
  commit      text   NOT NULL DEFAULT '',
  -- Why the newest commit gives no release; NULL when it does.
  faults      json,
  -- The plan that waits for a person, and why.
  waiting     text,
  waiting_for json,
  -- hold: nothing is deployed by itself until it is lifted. An automatic one only holds back the release with this
  -- digest: a fix must never be blocked.
  hold_reason text,
  hold_by     text,
  hold_digest text,
  hold_since  timestamptz,
  removed_at  timestamptz,
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX applications_name ON applications (environment, name) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX applications_path ON applications (environment, repository, path) WHERE removed_at IS NULL;
CREATE INDEX applications_repository ON applications (repository, environment);

CREATE TABLE releases (
  application bigint NOT NULL REFERENCES applications,
  generation  bigint NOT NULL,
  -- '' for a release that removes the application.
  digest      text   NOT NULL,
  content     json,
  -- Secret values and states, encrypted.
  hidden      bytea,
  plan        text   NOT NULL,
  commit      text   NOT NULL,
  -- commit, rollback, retry, confirm or platform.
  cause       text   NOT NULL,
  -- The generation whose content this is again, for a rollback.
  of          bigint,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (application, generation)
);

CREATE TABLE plans (
  id           text PRIMARY KEY,
  repository   text NOT NULL,
  environment  text NOT NULL,
  application  text NOT NULL,
  content      json NOT NULL,
  commit       text NOT NULL,
  -- The pull request that showed it, if one did.
  pull         bigint,
  confirmed_by text,
  confirmed_at timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX plans_application ON plans (environment, application, created_at DESC);
CREATE INDEX plans_created ON plans (created_at DESC);
