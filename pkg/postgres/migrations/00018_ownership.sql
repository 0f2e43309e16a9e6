-- +goose Up

-- Digest of the release that the branch asks for, '' if it asks for a removal; NULL before the first evaluation. The
-- newest release differs from it after a rollback.
ALTER TABLE applications ADD COLUMN asked text;

-- An object that is one application's own is nobody else's: it stays with who wrote it last.
DELETE FROM inventories a USING inventories b WHERE a.environment = b.environment AND a.key = b.key AND a.application <> b.application
AND a.unit = 'application' AND b.unit = 'application' AND (a.token, a.application) < (b.token, b.application);
CREATE UNIQUE INDEX inventories_owner ON inventories (environment, key) WHERE unit = 'application';

-- Whether the newest evaluation of a branch was refused a name or an object that is somebody else's.
ALTER TABLE evaluations ADD COLUMN blocked boolean NOT NULL DEFAULT false;
CREATE INDEX evaluations_blocked ON evaluations (environment) WHERE blocked;

-- How a shared resource was evaluated by who describes it, encrypted; NULL for one that is not shared.
ALTER TABLE resources ADD COLUMN record bytea;

-- What the installation's key derives: other processes must have the same key.
CREATE TABLE installation (
  one  boolean PRIMARY KEY DEFAULT true CHECK (one),
  mark text NOT NULL
);

-- A step's state is its checkpoint.
ALTER TABLE steps DROP COLUMN checkpoint;
