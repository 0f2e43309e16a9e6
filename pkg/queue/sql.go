package queue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Channels of NOTIFY.
const (
	// readyChannel wakes idle workers: a job became ready by being enqueued, or by an end in a process that has no place for
	// it. Not sent on every commit, because NOTIFY in each of them halves the throughput of the whole server.
	readyChannel = "jobs_ready"
	// signalChannel carries the id of a running job that was cancelled or superseded.
	signalChannel = "jobs_signal"
)

// All statements of the queue. States are written as numbers: 0 blocked, 1 ready, 2 running; see [State].
// A test prepares each of them, another one looks at their plans. Where the next of a key is looked for, "state < 1" stands
// for "state = 0": as long as the table has no statistics, the planner expects so few rows of the latter that it reads and
// sorts all of the key's.
const (
	// sqlLock takes the keys' locks in one order, so that two batches cannot wait for each other. Statements after it in
	// the same transaction see what the holders before have committed, unless the isolation is stricter.
	sqlLock = `SELECT count(pg_advisory_xact_lock(hash)), current_setting('transaction_isolation')
		FROM (SELECT DISTINCT hashtextextended(key, 7) AS hash FROM unnest($1::text[]) AS key ORDER BY 1) AS keys`

	// sqlTryLock takes the locks of those keys that nobody has, and returns the others.
	sqlTryLock = `SELECT key FROM (SELECT DISTINCT key FROM unnest($1::text[]) AS key ORDER BY 1) AS keys WHERE NOT pg_try_advisory_xact_lock(hashtextextended(key, 7))`

	// sqlThere says whether the job $1 is still held with token $2.
	sqlThere = `SELECT EXISTS (SELECT FROM jobs WHERE id = $1 AND token = $2)`

	// sqlLockPatience has this transaction wait for a lock for $1 at most.
	sqlLockPatience = `SELECT set_config('lock_timeout', $1, true)`

	historyColumns = `id, finished_at, created_at, started_at, run_at, token, generation, retry_of, state, priority, attempt,
		max_attempts, kind, key, dedupe, worker, note, failures, args, owner`

	// sqlSupersede moves waiting jobs of older generations to the history and, if one of them held the key's place, gives
	// that to the next in line. $1 key, $2 kind, $3 generation.
	sqlSupersede = `WITH gone AS (DELETE FROM jobs WHERE key = $1 AND kind = $2 AND state IN (0, 1) AND generation < $3 RETURNING *),
		history AS (INSERT INTO job_history (` + historyColumns + `)
			SELECT id, clock_timestamp(), created_at, started_at, run_at, token, generation, retry_of, 5, priority, attempt,
				max_attempts, kind, key, dedupe, worker, note, failures, args, owner FROM gone),
		next AS MATERIALIZED (SELECT b.id FROM jobs b WHERE b.key = $1 AND b.state < 1 AND NOT (b.kind = $2 AND b.generation < $3)
			AND EXISTS (SELECT FROM gone WHERE gone.state = 1) ORDER BY b.seq LIMIT 1),
		promoted AS (UPDATE jobs SET state = 1 FROM next WHERE jobs.id = next.id RETURNING 1)
		SELECT id, generation, coalesce(dedupe, '') AS dedupe, args, attempt,
			(SELECT count(pg_notify('` + readyChannel + `', '')) FROM promoted) AS promoted FROM gone ORDER BY seq`

	// sqlInsert adds a job unless a newer generation, or a waiting one of the same generation and dedupe, is there; it
	// wakes workers, and tells the running one that something newer waits. $1 key, $2 kind, $3 generation, $4 dedupe or
	// null, $5 priority, $6 args, $7 the wait until it may run in microseconds, $8 max attempts, $9 retry of or null, $10 owner.
	sqlInsert = `WITH newer AS (SELECT id FROM jobs WHERE key = $1 AND kind = $2 AND generation > $3 ORDER BY generation DESC LIMIT 1),
		same AS (SELECT id FROM jobs WHERE key = $1 AND kind = $2 AND generation = $3 AND dedupe = $4 AND state IN (0, 1) LIMIT 1),
		inserted AS (INSERT INTO jobs (key, kind, generation, dedupe, priority, args, run_at, due_at, max_attempts, retry_of, owner, state)
			SELECT $1, $2, $3, $4, $5::smallint, $6::json, at, at + $5::smallint * interval '60 s', $8::smallint, $9::bigint, $10::text,
				CASE WHEN EXISTS (SELECT FROM jobs WHERE key = $1) THEN 0 ELSE 1 END
			FROM (SELECT now() + $7::bigint * interval '1 microsecond' AS at) AS due
			WHERE NOT EXISTS (SELECT FROM newer) AND NOT EXISTS (SELECT FROM same) RETURNING id, state, run_at),
		running AS (SELECT id FROM jobs WHERE key = $1 AND kind = $2 AND state = 2 AND generation < $3 AND EXISTS (SELECT FROM inserted))
		SELECT 0 AS outcome, id,
			(SELECT count(pg_notify('` + readyChannel + `', '')) FROM inserted WHERE state = 1 AND run_at <= clock_timestamp()) +
			(SELECT count(pg_notify('` + signalChannel + `', id::text)) FROM running) AS told FROM inserted
		UNION ALL SELECT 1, id, 0 FROM same WHERE NOT EXISTS (SELECT FROM newer)
		UNION ALL SELECT 2, id, 0 FROM newer`

	// ready are the jobs that may start: of the kinds $3 without those that are paused. Whether all are paused is asked once
	// and not for each job.
	ready = `state = 1 AND run_at <= now() AND due_at <= now() + interval '240 s'
			AND NOT EXISTS (SELECT FROM pauses WHERE kind = '')
			AND kind = ANY (ARRAY (SELECT u.kind FROM unnest($3::text[]) AS u(kind) WHERE NOT EXISTS (SELECT FROM pauses WHERE pauses.kind = u.kind)))`

	// grant gives the chosen jobs to worker $1 with a lease of $2 microseconds.
	grant = ` UPDATE jobs SET state = 2, attempt = attempt + 1, token = nextval('job_token_seq'), worker = $1, note = NULL, hastened = false,
			lease_until = now() + $2 * interval '1 microsecond', lease_us = $2, started_at = coalesce(started_at, now())
		FROM granted WHERE jobs.id = granted.id
		RETURNING jobs.id, kind, key, attempt, max_attempts, generation, token, coalesce(dedupe, '') AS dedupe, args, created_at,
			(extract(epoch FROM now() - run_at) * 1000000)::bigint AS waited`

	// sqlClaim takes jobs that are ready, for worker $1. How many stands in the text, see [claimStatement]: with a parameter
	// there, the generic plan expects a tenth of the table and reads all of it.
	sqlClaim = `WITH granted AS MATERIALIZED (SELECT id FROM jobs WHERE ` + ready + `
			ORDER BY due_at, seq LIMIT ` + claimPlace + ` FOR UPDATE SKIP LOCKED)` + grant + `, 0::bigint AS passed`

	// sqlClaimInOrder has the claim read the index of what is ready in its order, and stop when it has enough: as long as the
	// table has no statistics, the planner would collect and sort all that is ready.
	sqlClaimInOrder = `SELECT set_config('enable_bitmapscan', 'off', true)`

	// sqlClaimLock does that, too, and lets one claim with limits look at a time: two would each count without the other's.
	sqlClaimLock = sqlClaimInOrder + `, pg_advisory_xact_lock(2026, 2)`

	// sqlClaimLimited is sqlClaim with at most $4 running jobs for one OWNER/REPOSITORY and $5 for one OWNER, 0 for no limit.
	// It passes over those who have their share, and does not grant more of what is left than the rest of a share:
	// passed is how many it chose and did not grant. NOT IN and no array, because the planner takes an array for one that
	// excludes nearly all, and sorts the whole table.
	sqlClaimLimited = `WITH busy AS MATERIALIZED (SELECT owner, ` + who + ` AS who FROM jobs WHERE state = 2 AND owner <> ''),
		chosen AS MATERIALIZED (SELECT id, owner, ` + who + ` AS who, due_at, seq FROM jobs WHERE ` + ready + `
				AND owner NOT IN (SELECT owner FROM busy WHERE $4::int > 0 GROUP BY owner HAVING count(*) >= $4)
				AND ` + who + ` NOT IN (SELECT who FROM busy WHERE $5::int > 0 GROUP BY who HAVING count(*) >= $5)
			ORDER BY due_at, seq LIMIT ` + claimPlace + ` FOR UPDATE SKIP LOCKED),
		counted AS (SELECT id, owner,
				row_number() OVER (PARTITION BY owner ORDER BY due_at, seq) + (SELECT count(*) FROM busy WHERE busy.owner = chosen.owner) AS of_repository,
				row_number() OVER (PARTITION BY who ORDER BY due_at, seq) + (SELECT count(*) FROM busy WHERE busy.who = chosen.who) AS of_owner
			FROM chosen),
		granted AS MATERIALIZED (SELECT id FROM counted WHERE owner = '' OR (($4 = 0 OR of_repository <= $4) AND ($5 = 0 OR of_owner <= $5)))` + grant + `,
			(SELECT count(*) FROM chosen) - (SELECT count(*) FROM granted) AS passed`

	who = `split_part(owner, '/', 1)`

	// sqlBeat extends the leases $1, $2 (ids, tokens) by $3 microseconds. A row that a transaction of its own handler has
	// locked is left out, so that it does not keep the others waiting.
	sqlBeat = `WITH asked AS (SELECT * FROM unnest($1::bigint[], $2::bigint[]) AS u(id, token)),
		free AS MATERIALIZED (SELECT jobs.id FROM jobs JOIN asked ON jobs.id = asked.id AND jobs.token = asked.token
			FOR NO KEY UPDATE OF jobs SKIP LOCKED),
		extended AS (UPDATE jobs SET lease_until = now() + $3 * interval '1 microsecond' FROM free WHERE jobs.id = free.id RETURNING jobs.id)
		SELECT asked.token, jobs.id IS NOT NULL AS held, extended.id IS NOT NULL AS extended, jobs.cancel_at IS NOT NULL AS cancel,
			EXISTS (SELECT FROM jobs n WHERE n.key = jobs.key AND n.kind = jobs.kind AND n.generation > jobs.generation) AS newer
		FROM asked LEFT JOIN jobs ON jobs.id = asked.id AND jobs.token = asked.token LEFT JOIN extended ON extended.id = asked.id`

	// sqlHold locks the job $1 with token $2.
	sqlHold = `SELECT id FROM jobs WHERE id = $1 AND token = $2 FOR NO KEY UPDATE`

	// sqlFinish ends the jobs $1 with tokens $2 in states $3 with failures $4 (codes) and $5 (texts, null for none), and
	// promotes the next of each key. The keys must be locked. Ids that are missing in the answer were fenced off.
	sqlFinish = `WITH gone AS (DELETE FROM jobs USING unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::text[], $5::text[])
				AS u(uid, utoken, final, code, error)
			WHERE jobs.id = u.uid AND jobs.token = u.utoken RETURNING jobs.*, u.final, u.code, u.error),
		history AS (INSERT INTO job_history (` + historyColumns + `)
			SELECT id, clock_timestamp(), created_at, started_at, run_at, token, generation, retry_of, final, priority, attempt,
				max_attempts, kind, key, dedupe, worker, note, ` + withFailure + `, args, owner FROM gone),
		next AS MATERIALIZED (SELECT n.id FROM gone CROSS JOIN LATERAL
			(SELECT b.id FROM jobs b WHERE b.key = gone.key AND b.state < 1 ORDER BY b.seq LIMIT 1) AS n),
		promoted AS (UPDATE jobs SET state = 1 FROM next WHERE jobs.id = next.id)
		SELECT id FROM gone`

	withFailure = `failures || CASE WHEN error IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(jsonb_build_object(
			'attempt', attempt, 'at', clock_timestamp(), 'worker', worker, 'code', code, 'error', error)) END`

	liveColumns = `id, kind, key, attempt, max_attempts, generation, token, coalesce(dedupe, '') AS dedupe, args, created_at`

	// sqlLook locks the running job $1 with token $2 and says what stands against trying it again. $3, if not null, asks only
	// for one whose lease was not renewed since it was that, or that was cancelled.
	sqlLook = `SELECT ` + liveColumns + `, cancel_at IS NOT NULL AS cancel,
			EXISTS (SELECT FROM jobs n WHERE n.key = jobs.key AND n.kind = jobs.kind AND n.generation > jobs.generation) AS newer
		FROM jobs WHERE id = $1 AND token = $2 AND ($3::timestamptz IS NULL OR lease_until = $3 OR cancel_at IS NOT NULL) FOR UPDATE`

	// sqlBack makes a running job ready again. $3 delay in microseconds, for nothing if the job was hastened meanwhile,
	// $4 attempts given back (0 or 1), $5 code, $6 text of the failure or null, $7 note or null. One that may run at once
	// is made known to all workers.
	sqlBack = `WITH put AS (UPDATE jobs SET state = 1, token = NULL, lease_until = NULL, lease_us = NULL, worker = NULL, failures = ` + withFailureHere + `,
				attempt = attempt - $4::smallint, note = $7, put_at = now(), run_at = now() + ` + delay + `,
				due_at = CASE WHEN ` + delay + ` = interval '0' THEN due_at ELSE now() + ` + delay + ` + priority * interval '60 s' END
			WHERE id = $1 AND token = $2 RETURNING run_at)
		SELECT count(pg_notify('` + readyChannel + `', '')) FROM put WHERE run_at <= now()`

	delay = `(CASE WHEN hastened THEN 0 ELSE $3::bigint END * interval '1 microsecond')`

	// sqlHasten lets the jobs of key $1 and kind $2 that wait for their time go, and marks the running one. The key must be
	// locked.
	sqlHasten = `UPDATE jobs SET hastened = true, run_at = CASE WHEN state = 2 THEN run_at ELSE now() END,
			due_at = CASE WHEN state = 2 THEN due_at ELSE now() + priority * interval '60 s' END
		WHERE key = $1 AND kind = $2 AND (state = 2 OR run_at > now())
		RETURNING id, CASE WHEN state = 1 THEN pg_notify('` + readyChannel + `', '')::text END AS told`

	// sqlFire finds which of the kinds $1 with periods $2 in microseconds are due, new ones included, and moves their next
	// time on. One that another replica is just firing is left to it. A time further ahead than two periods comes
	// from a clock that was set back, or from another version with a longer period.
	sqlFire = `WITH asked AS (SELECT kind, period * interval '1 microsecond' AS period FROM unnest($1::text[], $2::bigint[]) AS u(kind, period)),
		fresh AS (INSERT INTO schedules (kind, next_at) SELECT kind, now() + period FROM asked
			WHERE NOT EXISTS (SELECT FROM schedules WHERE schedules.kind = asked.kind) ON CONFLICT DO NOTHING RETURNING kind),
		due AS MATERIALIZED (SELECT schedules.kind, period FROM schedules JOIN asked ON asked.kind = schedules.kind
			WHERE next_at NOT BETWEEN now() AND now() + 2 * period FOR UPDATE OF schedules SKIP LOCKED),
		fired AS (UPDATE schedules SET next_at = now() + period FROM due WHERE schedules.kind = due.kind RETURNING schedules.kind)
		SELECT kind FROM fresh UNION ALL SELECT kind FROM fired`

	withFailureHere = `failures || CASE WHEN $6::text IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(jsonb_build_object(
			'attempt', attempt, 'at', clock_timestamp(), 'worker', worker, 'code', $5::text, 'error', $6::text)) END`

	// sqlRunning tells of all running jobs: twice as many as there are places in the installation at most. An older version does
	// not tell its lease: 15 s, or ours of $1 microseconds if that is longer.
	sqlRunning = `SELECT id, token, key, kind, lease_until, coalesce(lease_us, greatest(15000000, $1::bigint)) AS lease_us, cancel_at IS NOT NULL AS cancel
		FROM jobs WHERE state = 2`

	sqlNow = `SELECT now()`

	// sqlSetBack has jobs that were put off more than $1 microseconds from now, in the future, wait no longer than was meant
	// then. It reads the whole table.
	// All of it stands in the row itself: of two processes that do it at once, the second sees what the first has done.
	sqlSetBack = `UPDATE jobs SET run_at = run_at - (coalesce(put_at, created_at) - now()),
			due_at = due_at - (coalesce(put_at, created_at) - now()), put_at = now()
		WHERE state IN (0, 1) AND coalesce(put_at, created_at) - now() > $1 * interval '1 microsecond'`

	// sqlOrphans finds what worker $1 was granted and does not know of: the answer to its claim was lost. $2 are the tokens
	// that it knows.
	sqlOrphans = `SELECT id, token, key, kind FROM jobs WHERE state = 2 AND worker = $1 AND token <> ALL ($2)`

	// sqlStranded finds keys with blocked jobs and nothing that they wait for. It must find nothing; see [Queue.Run].
	sqlStranded = `SELECT DISTINCT key FROM jobs b WHERE state = 0
		AND NOT EXISTS (SELECT FROM jobs a WHERE a.key = b.key AND a.state IN (1, 2)) LIMIT $1`

	// sqlPromote gives the key's place to the next in line, if nobody has it. The key must be locked.
	sqlPromote = `UPDATE jobs SET state = 1 WHERE id = (SELECT b.id FROM jobs b WHERE b.key = $1 AND b.state < 1 ORDER BY b.seq LIMIT 1)
		AND NOT EXISTS (SELECT FROM jobs a WHERE a.key = $1 AND a.state IN (1, 2)) RETURNING id, pg_notify('` + readyChannel + `', '')::text AS told`

	// sqlPrune deletes some jobs of the default partition that ended more than $1 microseconds ago. The limit stands in the
	// text for the reason given at sqlClaim.
	sqlPrune = `DELETE FROM job_history_default WHERE finished_at < now() - $1 * interval '1 microsecond'
		AND id = ANY (ARRAY (SELECT id FROM job_history_default WHERE finished_at < now() - $1 * interval '1 microsecond' ORDER BY finished_at LIMIT 500))`

	sqlPartitions = `SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = 'job_history'::regclass`

	sqlTable = `SELECT to_regclass($1) IS NOT NULL`

	// sqlCancelWaiting ends a job that does not run. The key must be locked. $2 is the note.
	sqlCancelWaiting = `WITH gone AS (DELETE FROM jobs WHERE id = $1 AND state IN (0, 1) RETURNING *),
		history AS (INSERT INTO job_history (` + historyColumns + `)
			SELECT id, clock_timestamp(), created_at, started_at, run_at, token, generation, retry_of, 6, priority, attempt,
				max_attempts, kind, key, dedupe, worker, $2, failures, args, owner FROM gone)
		SELECT id, kind, key, attempt, max_attempts, generation, coalesce(token, 0) AS token, coalesce(dedupe, '') AS dedupe, args, created_at FROM gone`

	// sqlCancelRunning asks the worker of a running job to stop it.
	sqlCancelRunning = `UPDATE jobs SET cancel_at = coalesce(cancel_at, now()), note = $2 WHERE id = $1 AND state = 2
		RETURNING id, pg_notify('` + signalChannel + `', id::text)::text AS told`

	// sqlStats counts the live jobs. It reads the whole table, which is small by design.
	sqlStats = `SELECT kind, state, count(*) AS count,
			(extract(epoch FROM greatest(now() - min(CASE WHEN state = 2 THEN started_at ELSE run_at END), interval '0')) * 1000000)::bigint AS oldest
		FROM jobs GROUP BY kind, state ORDER BY kind, state`

	// sqlTell wakes the workers of all processes.
	sqlTell = `SELECT pg_notify('` + readyChannel + `', '')::text AS told`

	// sqlSignal has the worker of the job $1 look at its lease.
	sqlSignal = `SELECT pg_notify('` + signalChannel + `', $1::bigint::text)`

	entryColumns = `id, kind, key, state, attempt, max_attempts, generation, priority, coalesce(dedupe, '') AS dedupe,
		coalesce(worker, '') AS worker, coalesce(note, '') AS note, coalesce(retry_of, 0) AS retry_of, created_at, run_at, started_at,
		failures, args, owner`

	sqlGet = `SELECT ` + entryColumns + `, NULL::timestamptz AS finished_at FROM jobs WHERE id = $1
		UNION ALL SELECT ` + entryColumns + `, finished_at FROM job_history WHERE id = $1`

	// sqlList gives jobs, newest first: $1 kind or "", $2 states or null, $3 below this id, $4 limit.
	sqlList = `SELECT * FROM (
			(SELECT ` + entryColumns + `, NULL::timestamptz AS finished_at FROM jobs
				WHERE id < $3 AND ($1 = '' OR kind = $1) AND ($2::smallint[] IS NULL OR state = ANY ($2)) ORDER BY id DESC LIMIT $4)
			UNION ALL
			(SELECT ` + entryColumns + `, finished_at FROM job_history
				WHERE id < $3 AND ($1 = '' OR kind = $1) AND ($2::smallint[] IS NULL OR state = ANY ($2)) ORDER BY id DESC LIMIT $4)
		) AS all_jobs ORDER BY id DESC LIMIT $4`

	// sqlListKey is sqlList for the key $5: a statement of its own, because it goes by another index.
	sqlListKey = `SELECT * FROM (
			(SELECT ` + entryColumns + `, NULL::timestamptz AS finished_at FROM jobs
				WHERE key = $5 AND id < $3 AND ($1 = '' OR kind = $1) AND ($2::smallint[] IS NULL OR state = ANY ($2)))
			UNION ALL
			(SELECT ` + entryColumns + `, finished_at FROM job_history
				WHERE key = $5 AND id < $3 AND ($1 = '' OR kind = $1) AND ($2::smallint[] IS NULL OR state = ANY ($2)) ORDER BY key DESC, id DESC LIMIT $4)
		) AS all_jobs ORDER BY id DESC LIMIT $4`

	// sqlPause pauses the kind $1 for $2 and the reason $3, or tells anew who and why.
	sqlPause = `INSERT INTO pauses (kind, by, reason) VALUES ($1, $2, $3) ON CONFLICT (kind) DO UPDATE SET by = $2, reason = $3`

	// sqlResume ends the pause of the kind $1 and wakes workers.
	sqlResume = `WITH gone AS (DELETE FROM pauses WHERE kind = $1 RETURNING kind) SELECT pg_notify('` + readyChannel + `', '')::text FROM gone`

	sqlPauses = `SELECT kind, by, reason, at FROM pauses ORDER BY kind`

	// sqlSince says what has happened since the job $4 died: a newer generation asked for, or a retry that is still live.
	sqlSince = `SELECT EXISTS (SELECT FROM jobs WHERE key = $1 AND kind = $2 AND generation > $3)
			OR EXISTS (SELECT FROM job_history WHERE key = $1 AND kind = $2 AND generation > $3 AND id > $4),
		EXISTS (SELECT FROM jobs WHERE key = $1 AND retry_of = $4)`
)

// sender is what statements are sent with: a transaction or a pool.
type sender interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// lockKeys takes the locks of the keys until the transaction ends.
func lockKeys(ctx context.Context, tx sender, keys ...string) error {
	rows, err := tx.Query(ctx, sqlLock, keys)
	if err == nil {
		err = checkLocks(rows)
	}
	if err != nil {
		return fmt.Errorf("lock keys %q: %w", keys, err)
	}
	return nil
}

type locks struct {
	Count     int64  `db:"count"`
	Isolation string `db:"current_setting"`
}

func checkLocks(rows pgx.Rows) error {
	l, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[locks])
	if err != nil {
		return err
	}
	if l.Isolation != "read committed" {
		return fmt.Errorf("the transaction's isolation is %q: the queue needs read committed, to see what was committed before it got the lock", l.Isolation)
	}
	return nil
}
