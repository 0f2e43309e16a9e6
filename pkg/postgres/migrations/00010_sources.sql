-- +goose Up

-- Repositories that are watched, and what was seen of them (package gitwatch).
CREATE TABLE repositories (
  name          text PRIMARY KEY,
  url           text NOT NULL,
  -- Name of the configured forge, '' for a plain remote without an API.
  forge         text NOT NULL DEFAULT '',
  -- Which environments follow which branch: {"main": ["production"]}.
  branches      jsonb NOT NULL,
  paths         text[] NOT NULL,
  poll_seconds  integer NOT NULL CHECK (poll_seconds > 0),
  origin        text NOT NULL CHECK (origin IN ('configuration', 'api')),
  -- Set when the repository is no longer watched; its applications stay as they are.
  removed_at    timestamptz,
  -- Counts the looks that were asked for: the newest replaces those that wait.
  looks         bigint NOT NULL DEFAULT 0,
  polled_at     timestamptz,
  -- Why looking fails, and since when; NULL when the last look succeeded.
  fault         jsonb,
  failing_since timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now()
);

-- The branches that are followed. The generation grows with every move, also back to an old commit.
CREATE TABLE refs (
  repository text   NOT NULL REFERENCES repositories ON DELETE CASCADE,
  name       text   NOT NULL,
  -- NULL when the branch is gone.
  commit     text,
  generation bigint NOT NULL DEFAULT 1,
  moved_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (repository, name)
);

-- Pull requests that were seen open at least once.
CREATE TABLE pulls (
  repository   text    NOT NULL REFERENCES repositories ON DELETE CASCADE,
  number       bigint  NOT NULL,
  state        text    NOT NULL CHECK (state IN ('open', 'merged', 'closed')),
  title        text    NOT NULL,
  author       text    NOT NULL,
  head_ref     text    NOT NULL,
  head_commit  text    NOT NULL,
  base_ref     text    NOT NULL,
  base_commit  text    NOT NULL DEFAULT '',
  fork         boolean NOT NULL,
  merge_commit text    NOT NULL DEFAULT '',
  generation   bigint  NOT NULL DEFAULT 1,
  seen_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (repository, number)
);
CREATE INDEX pulls_merge ON pulls (repository, merge_commit) WHERE merge_commit <> '';
