package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// claimLoop claims until ctx ends. Claimed jobs run below base.
func (w *worker) claimLoop(ctx, base context.Context) {
	for ctx.Err() == nil {
		more, err := w.claim(ctx, base)
		pause := w.q.vary(w.q.cfg.Poll)
		if err != nil {
			w.log.Error().Err(err).Msg("claim failed")
			pause = w.q.vary(errorPause)
		} else {
			w.q.metrics.claimed.SetToCurrentTime()
		}
		if more {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-w.q.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	if !w.unclear.IsZero() {
		w.adopt(base)
	}
}

// claimed is a row of the claim.
type claimed struct {
	jobRow
	Waited int64 // Microseconds.
	Passed int64 // How many were chosen by the same claim and not granted.
}

// jobRow is what the statements say about a live job.
type jobRow struct {
	ID          int64
	Kind        string
	Key         string
	Attempt     int
	MaxAttempts int
	Generation  int64
	Token       int64
	Dedupe      string
	Args        []byte
	CreatedAt   time.Time
}

func (r jobRow) job() *Job {
	return &Job{
		ID: r.ID, Kind: r.Kind, Key: r.Key, Attempt: r.Attempt, MaxAttempts: r.MaxAttempts, Generation: r.Generation,
		Token: r.Token, Dedupe: r.Dedupe, Args: r.Args, CreatedAt: r.CreatedAt, superseded: make(chan struct{}),
	}
}

// claim takes as many jobs as there are free places and starts them. It says whether there may be more.
func (w *worker) claim(ctx, base context.Context) (more bool, err error) {
	if !w.unclear.IsZero() && !time.Now().Before(w.unclear) {
		w.adopt(base)
	}
	w.mu.Lock()
	free, kinds := w.places(), w.q.kinds()
	w.mu.Unlock()
	if free <= 0 || len(kinds) == 0 {
		return false, nil
	}
	asking, cancel := context.WithTimeout(base, claimTimeout)
	defer cancel()
	jobs, size, asked, err := w.q.ask(asking, free, kinds)
	if err != nil {
		w.unclear = time.Now()
		return false, fmt.Errorf("claim jobs: %w", err)
	}
	more = len(jobs) == size
	validUntil := w.validFrom(asked)
	for _, c := range jobs {
		w.start(base, c, validUntil)
		more = more || c.Passed > 0
	}
	w.mu.Lock()
	w.more = more
	w.mu.Unlock()
	if ctx.Err() != nil {
		// Claimed while the shutdown began. They get what all others get: the grace, and a release after it.
		return false, nil
	}
	return more, nil
}

// ask takes at most size jobs, which is at most free. asked is when it had a connection: the leases are no older.
func (q *Queue) ask(ctx context.Context, free int, kinds []string) (jobs []claimed, size int, asked time.Time, err error) {
	template, before, arguments := sqlClaim, sqlClaimInOrder, []any{q.cfg.Name, q.cfg.Lease.Microseconds(), kinds}
	if q.cfg.PerRepository > 0 || q.cfg.PerOwner > 0 {
		template, before, arguments = sqlClaimLimited, sqlClaimLock, append(arguments, q.cfg.PerRepository, q.cfg.PerOwner)
	}
	sql, size := claimStatement(template, free)
	// Statements of a batch outside of a transaction are one implicit transaction, and each sees what was committed before
	// it began.
	var batch pgx.Batch
	batch.Queue(before)
	batch.Queue(sql, arguments...)
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return nil, 0, time.Time{}, err
	}
	defer conn.Release()
	asked = time.Now()
	results := conn.SendBatch(ctx, &batch)
	defer func() { err = errors.Join(err, results.Close()) }()
	if _, err := results.Exec(); err != nil {
		return nil, 0, asked, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, 0, asked, err
	}
	jobs, err = pgx.CollectRows(rows, pgx.RowToStructByName[claimed])
	return jobs, size, asked, err
}

// validFrom returns until when a lease asked for at that time is surely ours: a part is kept back for what lies between
// noticing and stopping.
func (w *worker) validFrom(asked time.Time) time.Time {
	return asked.Add(w.q.cfg.Lease - w.margin())
}

func (w *worker) margin() time.Duration { return w.q.cfg.Lease / 5 }

// adopt looks for what claims have granted whose answer was lost, and has the next one look again if some cannot be given back yet.
func (w *worker) adopt(ctx context.Context) {
	w.unclear = time.Time{}
	if err := w.adoptOrphans(ctx); err != nil {
		w.log.Warn().Err(err).Msg("what a claim without an answer may have granted is not given back yet")
		w.unclear = time.Now().Add(errorPause)
		w.q.wakeIn(errorPause)
	}
}

// adoptOrphans gives back what was granted to us by claims whose answer was lost on the way. One that cannot be must not keep the
// others waiting.
func (w *worker) adoptOrphans(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	tokens := []int64{}
	for _, h := range w.holding() {
		tokens = append(tokens, h.job.Token)
	}
	rows, err := w.q.pool.Query(ctx, sqlOrphans, w.q.cfg.Name, tokens)
	if err != nil {
		return fmt.Errorf("look for orphans: %w", err)
	}
	orphans, err := pgx.CollectRows(rows, pgx.RowToStructByName[jobRef])
	if err != nil {
		return fmt.Errorf("look for orphans: %w", err)
	}
	var first error
	for _, o := range orphans {
		if _, err := w.q.settle(ctx, o, verdict{final: Ready, giveBack: true}, finishPatience); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// claimPlace is where the number of jobs to claim stands in sqlClaim.
const claimPlace = "/*limit*/"

// claimSizes are the numbers of jobs that one claim may ask for: few, because each is a prepared statement of its own.
// The largest leaves something for others. Each is at most twice the next: a claim of a quarter of what is free costs a third
// of the throughput of several processes (measured).
var claimSizes = [...]int{200, 128, 64, 32, 16, 8, 4, 2, 1}

// claimStatement returns the statement of the template that claims as many jobs as possible but not more than free, which is at least 1,
// and how many these are.
func claimStatement(template string, free int) (sql string, size int) {
	for _, size = range claimSizes {
		if size <= free {
			break
		}
	}
	return strings.Replace(template, claimPlace, strconv.Itoa(size), 1), size
}
