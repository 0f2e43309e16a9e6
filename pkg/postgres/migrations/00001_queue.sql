-- +goose Up

-- The queue: see docs/architecture.md and package queue for the rules that these tables hold.

-- Fencing tokens: each grant of a lease gets a higher one than all grants before it.
CREATE SEQUENCE job_token_seq;

-- Live jobs only. Finished ones move to job_history, so that this table stays small: with superseding about two rows per
-- key and kind. States: 0 blocked (an earlier job of its key is live), 1 ready, 2 running.
CREATE TABLE jobs (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- Order within a key. Not the primary key on purpose: ORDER BY primary key LIMIT 1 makes the planner walk it.
  seq          bigserial   NOT NULL,
  -- run_at plus one minute per step of priority: priorities without starvation from one index.
  due_at       timestamptz NOT NULL,
  run_at       timestamptz NOT NULL,
  -- Not indexed on purpose: heartbeats stay heap-only updates.
  lease_until  timestamptz,
  token        bigint,
  cancel_at    timestamptz,
  state        smallint    NOT NULL CHECK (state IN (0, 1, 2)),
  priority     smallint    NOT NULL CHECK (priority BETWEEN 0 AND 4),
  attempt      smallint    NOT NULL DEFAULT 0,
  max_attempts smallint    NOT NULL CHECK (max_attempts > 0),
  generation   bigint      NOT NULL DEFAULT 0,
  kind         text        NOT NULL,
  key          text        NOT NULL,
  dedupe       text,
  worker       text,
  -- Why it was put off or cancelled, in a person's or a handler's words.
  note         text,
  retry_of     bigint,
  created_at   timestamptz NOT NULL DEFAULT now(),
  started_at   timestamptz,
  -- One entry per failed attempt: {"attempt", "at", "worker", "code", "error"}.
  failures     jsonb       NOT NULL DEFAULT '[]',
  -- Not jsonb: nothing looks inside, and jsonb refuses the escape of a zero byte.
  args         json        NOT NULL DEFAULT '{}',
  CHECK ((state = 2) = (token IS NOT NULL)),
  CHECK ((state = 2) = (lease_until IS NOT NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);

-- run_at stands in the index so that jobs that wait for their time are passed over without reading their rows.
CREATE INDEX jobs_ready ON jobs (due_at, seq, run_at) WHERE state = 1;
-- Not partial on purpose: partial indexes for each state do not serve a condition over several states.
CREATE INDEX jobs_key ON jobs (key, seq);
CREATE INDEX jobs_running ON jobs (id) WHERE state = 2;
-- Never two at once on one key: held by the database itself.
CREATE UNIQUE INDEX jobs_one_active ON jobs (key) WHERE state IN (1, 2);

-- Finished jobs, append only. States: 3 done, 4 dead, 5 superseded, 6 cancelled. Partitioned by time so that months can
-- be split off later; until then all rows live in the default partition.
CREATE TABLE job_history (
  id           bigint      NOT NULL,
  finished_at  timestamptz NOT NULL,
  created_at   timestamptz NOT NULL,
  started_at   timestamptz,
  run_at       timestamptz NOT NULL,
  token        bigint,
  generation   bigint      NOT NULL,
  retry_of     bigint,
  state        smallint    NOT NULL CHECK (state BETWEEN 3 AND 6),
  priority     smallint    NOT NULL,
  attempt      smallint    NOT NULL,
  max_attempts smallint    NOT NULL,
  kind         text        NOT NULL,
  key          text        NOT NULL,
  dedupe       text,
  worker       text,
  note         text,
  failures     jsonb       NOT NULL,
  args         json        NOT NULL,
  PRIMARY KEY (id, finished_at)
) PARTITION BY RANGE (finished_at);
CREATE TABLE job_history_default PARTITION OF job_history DEFAULT;
CREATE INDEX job_history_key ON job_history (key, id);
CREATE INDEX job_history_finished ON job_history (finished_at);
CREATE INDEX job_history_dead ON job_history (id) WHERE state = 4;
