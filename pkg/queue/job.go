package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Why a running job's context ended; found with context.Cause and errors.Is. [ErrCancelled] and [ErrSuperseded] are also
// what [Handler.OnEnd] is told.
var (
	// ErrCancelled: a person cancelled the job.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrLeaseLost: another worker may have the job. Nothing may be written any more.
	ErrLeaseLost = errors.New("the job's lease is lost")
	// ErrTimeout: the job reached its kind's time limit.
	ErrTimeout = errors.New("the job reached its time limit")
	// ErrShutdown: the process stops. The job runs again elsewhere without losing an attempt.
	ErrShutdown = errors.New("the process shuts down")
	// ErrSuperseded: a newer generation waits. A handler that stops because of [Job.Superseded] returns it.
	ErrSuperseded = errors.New("a newer generation waits")
)

// State is where a job stands. The numbers are those of the tables.
type State int16

// The states. The first three are live, the others final.
const (
	Blocked    State = 0 // An earlier job of its key is live.
	Ready      State = 1 // Waits for a worker, or for its time.
	Running    State = 2
	Done       State = 3
	Dead       State = 4 // Failed for good.
	Superseded State = 5 // A newer generation took its place.
	Cancelled  State = 6 // By a person.
)

var stateNames = [...]string{"blocked", "ready", "running", "done", "dead", "superseded", "cancelled"}

// String returns the name of the state as the API and metrics give it.
func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int16(s))
	}
	return stateNames[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *State) UnmarshalText(text []byte) error {
	state, ok := ParseState(string(text))
	if !ok {
		return fmt.Errorf("there is no state %q", text)
	}
	*s = state
	return nil
}

// ParseState returns the state of that name.
func ParseState(name string) (State, bool) {
	for i, n := range stateNames {
		if n == name {
			return State(i), true
		}
	}
	return 0, false
}

// Job is a job as its handler sees it.
type Job struct {
	ID   int64
	Kind string
	// Key is what the job is about; while it runs, no other job of the key does.
	Key string
	// Attempt counts from 1. Attempts ended by shutdown or snooze do not count.
	Attempt, MaxAttempts int
	// Generation orders the desired states of a key; 0 means first in, first out.
	Generation int64
	// Token fences this attempt: each attempt of any job has a higher one than all before it.
	Token int64
	// Dedupe is what the enqueuer gave, or "".
	Dedupe string
	// Args are the arguments as JSON.
	Args json.RawMessage
	// CreatedAt is the database's time of enqueueing.
	CreatedAt time.Time

	superseded chan struct{}
	once       sync.Once
	finishing  atomic.Bool // Finish was called; its transaction may or may not commit.
}

// Bind reads the arguments into v, a pointer.
func (j *Job) Bind(v any) error {
	if err := json.Unmarshal(j.Args, v); err != nil {
		return fmt.Errorf("read the arguments of %s job %d: %w", j.Kind, j.ID, err)
	}
	return nil
}

// Superseded is closed when a newer generation of the job's key and kind is waiting. The handler should stop at its next
// safe point and return [ErrSuperseded]; the newer job starts right after.
func (j *Job) Superseded() <-chan struct{} { return j.superseded }

func (j *Job) supersede() { j.once.Do(func() { close(j.superseded) }) }

// Hold fails with [ErrLeaseLost] when another worker has the job, and keeps others from taking it until the transaction
// ends: what the transaction wrote is the worker's that has the lease. Call it last, for the lease runs on meanwhile.
func (j *Job) Hold(ctx context.Context, tx pgx.Tx) error {
	var id int64
	err := tx.QueryRow(ctx, sqlHold, j.ID, j.Token).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrLeaseLost
	}
	if err != nil {
		return fmt.Errorf("hold job %d: %w", j.ID, err)
	}
	return nil
}

// Finish marks the job as done in the handler's own transaction, so that its last write, follow-up jobs and the job's end
// commit together. It takes the key's lock until the transaction ends: call it last. It returns [ErrLeaseLost] when
// another worker has the job; the transaction must then be rolled back.
//
// A handler that returns nil without Finish is finished by the queue.
func (j *Job) Finish(ctx context.Context, tx pgx.Tx) error {
	j.finishing.Store(true)
	if err := j.finish(ctx, tx); err != nil {
		j.finishing.Store(false)
		return fmt.Errorf("finish job %d: %w", j.ID, err)
	}
	return nil
}

func (j *Job) finish(ctx context.Context, tx pgx.Tx) error {
	if err := lockKeys(ctx, tx, j.Key); err != nil {
		return err
	}
	ours, err := finish(ctx, tx, j.done())
	if err == nil && !ours {
		return ErrLeaseLost
	}
	return err
}
