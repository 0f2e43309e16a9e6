-- +goose Up

-- What forges must be told (package status): one row for each thing said, overwritten by what is newer. A row whose
-- version is above what was sent is to be sent.
CREATE TABLE reports (
  repository text   NOT NULL,
  -- status or comment
  kind       text   NOT NULL CHECK (kind IN ('status', 'comment')),
  -- The commit of a status, the number of the pull request of a comment.
  target     text   NOT NULL,
  -- The context of a status, '' for a comment.
  context    text   NOT NULL,
  state      text   NOT NULL,
  body       text   NOT NULL,
  url        text   NOT NULL,
  version    bigint NOT NULL DEFAULT 1,
  sent       bigint NOT NULL DEFAULT 0,
  -- The forge's id of the comment.
  forge_id   bigint NOT NULL DEFAULT 0,
  attempts   integer NOT NULL DEFAULT 0,
  fault      json,
  -- Given up: the forge will never take it.
  dead       boolean NOT NULL DEFAULT false,
  changed_at timestamptz NOT NULL DEFAULT now(),
  sent_at    timestamptz,
  PRIMARY KEY (repository, kind, target, context)
);
CREATE INDEX reports_unsent ON reports (repository) WHERE sent < version AND NOT dead;
