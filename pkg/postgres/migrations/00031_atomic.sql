-- +goose Up

-- Runs of one commit with the same name here are deployed all or none; '' for one that is on its own.
ALTER TABLE runs ADD COLUMN atomic text NOT NULL DEFAULT '';
