-- +goose Up

-- Who may use the API (package auth). Only hashes of tokens are kept.
CREATE TABLE tokens (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text   NOT NULL UNIQUE,
  hash       bytea  NOT NULL UNIQUE,
  scopes     text[] NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  used_at    timestamptz,
  revoked_at timestamptz
);

-- Logins of browsers: a session belongs to a token and ends with it.
CREATE TABLE sessions (
  hash       bytea  PRIMARY KEY,
  token      bigint NOT NULL REFERENCES tokens ON DELETE CASCADE,
  -- A login link that was not used yet opens one session.
  once       boolean NOT NULL,
  expires_at timestamptz NOT NULL
);
