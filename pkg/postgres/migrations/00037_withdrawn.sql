-- +goose Up

-- A run that succeeded, and that a person rolled back while others that it is deployed with were under way: they go back, too.
ALTER TABLE runs ADD COLUMN withdrawn boolean NOT NULL DEFAULT false;
