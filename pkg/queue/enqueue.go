package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// DefaultPriority is the middle one.
	DefaultPriority = 2
	// HighestPriority is 0: it is put 2 minutes before a default job that may run at the same time.
	HighestPriority = 0
	// LowestPriority is 4. Each step is worth one minute of waiting, so that no job starves.
	LowestPriority = 4
	// DefaultMaxAttempts together with the default back-off gives a job about ten minutes before it is dead.
	DefaultMaxAttempts = 8
	// attemptsLimit bounds the list of failures kept with a job.
	attemptsLimit = 100
	// nameLimit bounds kinds, keys, dedupes and owners in bytes: they stand in indexes, whose rows end at 2,700 bytes.
	nameLimit = 500
	// argsLimit bounds arguments in bytes: they are written again with each change of the job's row.
	argsLimit = 1 << 20
)

// Insert is a job to be put into the queue.
type Insert struct {
	// Kind names the handler.
	Kind string
	// Key is what the job is about. Jobs of one key never run at once, whatever their kind.
	Key string
	// Generation, above 0, says that only the newest matters: waiting jobs of the same key and kind with a lower one are
	// superseded, a running one is told, and a job below the highest live one is not inserted. It must have been
	// raised in the same transaction, after reading the truth. 0 means that all run, first in, first out.
	Generation int64
	// Dedupe, if not "", drops this job when one of the same kind, key, generation and dedupe waits. A running one does not
	// count: it may have looked at the world before what this job is about happened.
	Dedupe string
	// Owner is whose work it is, as OWNER/REPOSITORY, for Config.PerRepository and Config.PerOwner; "" is nobody's.
	Owner string
	// Priority is 0 (first) to 4 (last); nil means [DefaultPriority].
	Priority *int16
	// RunAt is when the job may start at the earliest; zero means now, by the database's clock.
	RunAt time.Time
	// MaxAttempts is how often it is tried; 0 means what the kind's handler says, or [DefaultMaxAttempts].
	MaxAttempts int
	// Args are marshalled to JSON; nil becomes {}.
	Args any
}

// Outcome says what became of an [Insert].
type Outcome int16

// The outcomes.
const (
	Inserted  Outcome = 0
	Duplicate Outcome = 1 // One with the same dedupe waits.
	Older     Outcome = 2 // A newer generation is live.
)

// Replaced is a waiting job that an [Insert] superseded; it never runs. Whoever was told that it would must be told.
type Replaced struct {
	ID         int64
	Generation int64
	Dedupe     string
	// Attempt is above 0 if the job had been tried and waited for its next attempt.
	Attempt int
	Args    json.RawMessage
}

// Enqueued is the answer to one [Insert].
type Enqueued struct {
	Outcome Outcome
	// ID is the new job's, or the one that stands in its way.
	ID       int64
	Replaced []Replaced
}

// Enqueue puts jobs into the queue in the caller's transaction: they exist when it commits, and workers are woken then.
// The answers are in the order of the inserts. The transaction must have the isolation read committed. It holds the locks
// of the keys until its end, so that it should be short; whoever enqueues in several calls for several keys may be told
// of a deadlock by Postgres, and tries again.
//
// A job that breaks the rules gives a [fault.JobInvalid], and nothing is enqueued.
func (q *Queue) Enqueue(ctx context.Context, tx pgx.Tx, inserts ...Insert) ([]Enqueued, error) {
	if len(inserts) == 0 {
		return nil, nil
	}
	batch, err := q.enqueueBatch(inserts)
	if err != nil {
		return nil, err
	}
	results := tx.SendBatch(ctx, batch)
	out, err := readEnqueued(results, inserts)
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("enqueue %d jobs: %w", len(inserts), err)
	}
	for _, in := range inserts {
		q.wakeAt(in.RunAt)
	}
	return out, nil
}

func (q *Queue) enqueueBatch(inserts []Insert) (*pgx.Batch, error) {
	var batch pgx.Batch
	keys := make([]string, len(inserts))
	for i, in := range inserts {
		keys[i] = in.Key
	}
	batch.Queue(sqlLock, keys)
	for _, in := range inserts {
		args, err := q.check(&in)
		if err != nil {
			return nil, err
		}
		if in.Generation > 0 {
			batch.Queue(sqlSupersede, in.Key, in.Kind, in.Generation)
		}
		// The database's clock decides: what counts is how long from now, whatever time it is here.
		wait := int64(0)
		if !in.RunAt.IsZero() {
			wait = time.Until(in.RunAt).Microseconds()
		}
		batch.Queue(sqlInsert, in.Key, in.Kind, in.Generation, orNull(in.Dedupe), *in.Priority, args, wait, in.MaxAttempts, nil, in.Owner)
	}
	return &batch, nil
}

// check fills in defaults and returns the arguments as JSON.
func (q *Queue) check(in *Insert) (json.RawMessage, error) {
	if in.Priority == nil {
		in.Priority = new(int16(DefaultPriority))
	}
	if in.MaxAttempts == 0 {
		in.MaxAttempts = q.maxAttempts(in.Kind)
	}
	args := json.RawMessage("{}")
	if in.Args != nil {
		var err error
		if args, err = json.Marshal(in.Args); err != nil {
			return nil, fault.New(fault.JobInvalid, "write the arguments of a %s job: %w", in.Kind, err)
		}
	}
	for name, value := range map[string]string{"kind": in.Kind, "key": in.Key, "dedupe": in.Dedupe, "owner": in.Owner} {
		if len(value) > nameLimit || !utf8.ValidString(value) || strings.Contains(value, "\x00") || (value == "" && (name == "kind" || name == "key")) {
			return nil, fault.New(fault.JobInvalid, "the %s %q of a job is empty, has a zero byte, is not UTF-8 or longer than %d bytes", name, cut(value, 50), nameLimit)
		}
	}
	switch {
	case *in.Priority < HighestPriority || *in.Priority > LowestPriority:
		return nil, fault.New(fault.JobInvalid, "priority %d is not between %d and %d", *in.Priority, HighestPriority, LowestPriority)
	case in.Generation < 0:
		return nil, fault.New(fault.JobInvalid, "generation %d is below 0", in.Generation)
	case in.MaxAttempts < 0 || in.MaxAttempts > attemptsLimit:
		return nil, fault.New(fault.JobInvalid, "%d attempts are not between 1 and %d", in.MaxAttempts, attemptsLimit)
	case len(args) > argsLimit:
		return nil, fault.New(fault.JobInvalid, "the arguments of a %s job have %d bytes; the limit is %d", in.Kind, len(args), argsLimit)
	}
	return args, nil
}

type supersededRow struct {
	Replaced
	Promoted int64
}

type insertedRow struct {
	Outcome Outcome
	ID      int64
	Told    int64
}

func readEnqueued(results pgx.BatchResults, inserts []Insert) ([]Enqueued, error) {
	rows, err := results.Query()
	if err == nil {
		err = checkLocks(rows)
	}
	if err != nil {
		return nil, err
	}
	out := make([]Enqueued, len(inserts))
	for i, in := range inserts {
		if in.Generation > 0 {
			rows, err := results.Query()
			if err != nil {
				return nil, err
			}
			gone, err := pgx.CollectRows(rows, pgx.RowToStructByName[supersededRow])
			if err != nil {
				return nil, err
			}
			for _, g := range gone {
				out[i].Replaced = append(out[i].Replaced, g.Replaced)
			}
		}
		rows, err := results.Query()
		if err != nil {
			return nil, err
		}
		row, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[insertedRow])
		if err != nil {
			return nil, err
		}
		out[i].Outcome, out[i].ID = row.Outcome, row.ID
	}
	return out, nil
}

// cut shortens s to at most limit bytes without breaking a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
