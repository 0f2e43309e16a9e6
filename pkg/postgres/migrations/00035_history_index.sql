-- +goose Up

-- Only the default partition is cleared row by row; the others are dropped. Each index costs every job that ends.
CREATE INDEX job_history_default_finished ON job_history_default (finished_at);
DROP INDEX job_history_finished;
