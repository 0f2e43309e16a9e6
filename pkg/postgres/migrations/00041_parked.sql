-- +goose Up

-- Since when a step is put off, by the clock of that time: one that is in the future says that the clock was set back.
ALTER TABLE steps ADD COLUMN parked_at timestamptz;
