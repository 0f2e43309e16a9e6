package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// finishBatch is how many ends are written at once at most.
	finishBatch = 256
	// finishPatience is how long ends that are written together wait for each key. Who adds to a key has it for a millisecond;
	// an evaluation has those of all applications of a repository until it is stored, and a process that is stopped has its keys
	// for a lease.
	finishPatience = 50 * time.Millisecond
	// alonePart is the part of the pool's connections that ends may hold while they wait for their keys.
	alonePart = 4
	// alonePatience is how long an end waits for one of these connections before it looks whether its key is free by now.
	alonePatience = time.Second
)

// errKeyBusy says that the end of a job waits for somebody who has its key.
var errKeyBusy = errors.New("somebody else has the job's key")

// completion is a job that is done, on its way to finishLoop.
type completion struct {
	held   *held
	result chan<- completed
}

type completed struct {
	ours bool
	err  error
}

// complete ends a job that is done, together with others that are done at the same time.
func (w *worker) complete(h *held) (ours bool, err error) {
	result := make(chan completed, 1)
	// finishLoop outlives all jobs that Run waits for. A job that did not stop in time must not hang here for ever: its
	// lease ends.
	select {
	case w.done <- completion{held: h, result: result}:
	case <-h.lost:
		return false, nil
	}
	r := <-result
	return r.ours, r.err
}

// finishLoop writes the ends of done jobs. While one batch is on its way the next one gathers, so that an idle queue does
// not wait and a busy one shares its commits. A second loop beside it makes the batches smaller and all slower (measured).
func (w *worker) finishLoop(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-w.done:
			w.finishBatch(ctx, w.gather(first))
		}
	}
}

func (w *worker) gather(first completion) []completion {
	batch := []completion{first}
	for len(batch) < finishBatch {
		select {
		case next := <-w.done:
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// finishBatch writes ends, but those whose keys somebody else has.
func (w *worker) finishBatch(ctx context.Context, batch []completion) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	keys, endings := make([]string, len(batch)), make([]ending, len(batch))
	for i, c := range batch {
		keys[i], endings[i] = c.held.job.Key, c.held.job.done()
	}
	var busy []string
	ids, err := finishAll(ctx, w.q.pool, keys, endings)
	if isBusy(err) {
		busy, ids, err = finishFree(ctx, w.q.pool, keys, endings)
	}
	var ended []*held
	results := make([]completed, len(batch))
	for i, c := range batch {
		results[i] = completed{ours: slices.Contains(ids, c.held.job.ID), err: err}
		switch {
		case err != nil:
		case slices.Contains(busy, keys[i]):
			results[i].err = errKeyBusy
		default:
			ended = append(ended, c.held)
		}
	}
	w.release(ended...)
	for i, c := range batch {
		c.result <- results[i]
	}
}

// inLine writes the verdict on a job whose key somebody has. It waits for the key, with a connection of its own, which only some may
// have at once; who gets none soon is busy still.
func (w *worker) inLine(ctx context.Context, h *held, v verdict) (outcome string, err error) {
	select {
	case w.alone <- struct{}{}:
		defer func() { <-w.alone }()
	case <-time.After(alonePatience):
		return "", errKeyBusy
	case <-h.lost:
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	outcome, err = w.q.settle(ctx, h.job.ref(), v, 0)
	if err != nil && ctx.Err() != nil {
		w.log.Warn().Err(err).Str("kind", h.job.Kind).Str("key", h.job.Key).Int64("job", h.job.ID).
			Msg("the end of a job waits for somebody who has its key")
		return "", errKeyBusy
	}
	return outcome, err
}

// there says whether a job is still with the worker that has it.
func (q *Queue) there(ctx context.Context, job *Job) (yes bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	err = q.pool.QueryRow(ctx, sqlThere, job.ID, job.Token).Scan(&yes)
	return yes, err
}

// is says whether a job is in a state.
func (q *Queue) is(ctx context.Context, job int64, state State) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	entry, err := q.Get(ctx, job)
	return err == nil && entry.State == state
}

func (j *Job) ref() jobRef { return jobRef{ID: j.ID, Token: j.Token, Key: j.Key, Kind: j.Kind} }

func (j *Job) done() ending { return ending{id: j.ID, token: j.Token, state: Done} }

// isBusy says that a statement waited for a lock as long as it may.
func isBusy(err error) bool {
	refused, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refused.Code == "55P03" // lock_not_available
}

// ending is how a running job ends. state is final; code and text describe the failure, text "" for none.
type ending struct {
	id, token  int64
	state      State
	code, text string
}

// finish ends one job whose key is locked, and says whether it was still ours.
func finish(ctx context.Context, tx sender, e ending) (bool, error) {
	done, err := finishLocked(ctx, tx, []ending{e})
	return len(done) == 1, err
}

// finishLocked ends jobs whose keys are locked, and returns the ids of those that were still ours.
func finishLocked(ctx context.Context, tx sender, endings []ending) (ours []int64, err error) {
	rows, err := tx.Query(ctx, sqlFinish, finishArguments(endings)...)
	if err == nil {
		ours, err = pgx.CollectRows(rows, pgx.RowTo[int64])
	}
	if err != nil {
		return nil, fmt.Errorf("move %d jobs to the history: %w", len(endings), err)
	}
	return ours, nil
}

func finishArguments(endings []ending) []any {
	ids, tokens := make([]int64, len(endings)), make([]int64, len(endings))
	states := make([]int16, len(endings))
	codes, texts := make([]string, len(endings)), make([]*string, len(endings))
	for i, e := range endings {
		ids[i], tokens[i], states[i], codes[i] = e.id, e.token, int16(e.state), e.code
		texts[i] = orNull(e.text)
	}
	return []any{ids, tokens, states, codes, texts}
}

// finishAll ends many jobs in one round trip and one transaction, unless somebody has one of their keys for longer
// than [finishPatience]. It returns the ids that were still ours.
func finishAll(ctx context.Context, pool sender, keys []string, endings []ending) (ours []int64, err error) {
	var batch pgx.Batch
	// Statements of a batch outside of a transaction are one implicit transaction, and each sees what was committed
	// before it began.
	batch.Queue(sqlLockPatience, finishPatience.String())
	batch.Queue(sqlLock, keys)
	batch.Queue(sqlFinish, finishArguments(endings)...)
	results := pool.SendBatch(ctx, &batch)
	defer func() {
		if closeErr := results.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("finish %d jobs: %w", len(endings), closeErr)
		}
	}()
	if _, err = results.Exec(); err != nil {
		return nil, fmt.Errorf("finish %d jobs: %w", len(endings), err)
	}
	rows, err := results.Query()
	if err == nil {
		err = checkLocks(rows)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %d keys: %w", len(keys), err)
	}
	if rows, err = results.Query(); err != nil {
		return nil, fmt.Errorf("finish %d jobs: %w", len(endings), err)
	}
	if ours, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
		return nil, fmt.Errorf("finish %d jobs: %w", len(endings), err)
	}
	return ours, nil
}

// finishFree ends those of many jobs whose keys nobody has. It returns the keys that somebody has, and the ids that were still
// ours.
func finishFree(ctx context.Context, pool *pgxpool.Pool, keys []string, endings []ending) (busy []string, ours []int64, err error) {
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if err := lockKeys(ctx, tx); err != nil { // none: it looks at the isolation
			return err
		}
		rows, err := tx.Query(ctx, sqlTryLock, keys)
		if err != nil {
			return fmt.Errorf("try keys: %w", err)
		}
		if busy, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return fmt.Errorf("try keys: %w", err)
		}
		var possible []ending
		for i, key := range keys {
			if !slices.Contains(busy, key) {
				possible = append(possible, endings[i])
			}
		}
		ours, err = finishLocked(ctx, tx, possible)
		return err
	})
	return busy, ours, err
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
