package apply

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply/graph"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// Step is a node of a run's graph.
type Step struct {
	Run      int64  `json:"-"`
	Position int    `json:"position"`
	Name     string `json:"name"`
	// Parent is the step that this one belongs to: of a path that it uses, or for all items of a for_each.
	Parent string      `json:"parent,omitempty"`
	ID     string      `json:"-"`
	Needs  []string    `json:"needs,omitempty"`
	State  graph.State `json:"state"`
	// Attempt counts those of a step that does something itself.
	Attempt int `json:"attempt"`
	// Detail says what the step did, for people.
	Detail string       `json:"detail,omitempty"`
	Fault  *fault.Fault `json:"fault,omitempty"`
	// Failures are its failed attempts.
	Failures []StepFailure `json:"failures,omitempty"`
	// Until is when a parked step goes on at the latest.
	Until      *time.Time `json:"until,omitempty"`
	StartedAt  *time.Time `json:"startedAt,omitempty"`
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// UndoneAt is when what it did was undone, because the run failed; UndoFault why that was not possible.
	UndoneAt  *time.Time   `json:"undoneAt,omitempty"`
	UndoFault *fault.Fault `json:"undoFault,omitempty"`

	// AskedAt is since when it asks people, or when it looked last whether other runs let it go on.
	AskedAt *time.Time `json:"-"`
	// ParkedAt is when it was parked, as the clock was then.
	ParkedAt *time.Time `json:"-"`
	Item     []byte     `json:"-"`
	Outputs  []byte     `json:"-"`
	// waits is what a parked step waits for, if it is more than time.
	waits   string
	item    *golden.Item
	outputs map[string]any
}

// StepFailure is a failed attempt of a step.
type StepFailure struct {
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
	Code    string    `json:"code"`
	Error   string    `json:"error"`
}

// failed notes a failed attempt.
func (s *Step) failed(f *fault.Fault) {
	s.Failures = append(s.Failures, StepFailure{s.Attempt, time.Now().UTC().Truncate(time.Millisecond), string(f.Code), f.Message})
}

// forgive has steps of a run that has not ended wait again which a worker of the version before this one left. It writes that a
// step failed when an attempt did, which it does not note, and begins one again that has failed for good here: then those that
// were cancelled for its sake wait again, too.
func forgive(steps []Step) {
	ended := func(s Step) bool {
		n := len(s.Failures)
		return s.State == graph.Failed && n > 0 && s.Failures[n-1].Attempt == s.Attempt
	}
	if slices.ContainsFunc(steps, ended) {
		return
	}
	for i := range steps {
		if s := &steps[i]; s.State == graph.Failed || s.State == graph.Cancelled {
			s.State, s.Fault = graph.Waiting, nil
		}
	}
}

const (
	stepColumns = `run, position, name, parent, id, needs, state, attempt, detail, fault, failures, until, started_at, finished_at,
undone_at, undo_fault, asked_at, parked_at, item, outputs`
	sqlSteps      = `SELECT ` + stepColumns + ` FROM steps WHERE run = $1 ORDER BY position`
	sqlInsertStep = `INSERT INTO steps (run, position, name, parent, id, needs, item, state) VALUES ($1, $2, $3, $4, $5, $6, $7, 'waiting')
ON CONFLICT (run, name) DO NOTHING`
	// To look again whether people or other runs are there is no further attempt; but what a worker died of may have done something.
	sqlStartStep = `UPDATE steps SET state = 'running', attempt = attempt + CASE WHEN asked_at IS NULL OR state = 'running' AND id = '' THEN 1 ELSE 0 END, started_at = coalesce(started_at, now()), fault = NULL
WHERE run = $1 AND name = $2 RETURNING attempt`
	sqlSaveStep = `UPDATE steps SET state = $3, detail = $4, fault = $5, failures = $6, until = $7, outputs = $8, asked_at = $9,
  parked_at = CASE WHEN $3 = 'parked' THEN $10::timestamptz END,
  started_at = coalesce(started_at, CASE WHEN $3 NOT IN ('skipped', 'cancelled') THEN now() END),
  finished_at = CASE WHEN $3 IN ('succeeded', 'skipped', 'failed', 'cancelled') THEN now() END
WHERE run = $1 AND name = $2 RETURNING started_at, finished_at`
	sqlParkAgain = `UPDATE steps SET until = $3, asked_at = $4, parked_at = $5 WHERE run = $1 AND name = $2`
	// What has not ended when the run does.
	sqlEndSteps = `UPDATE steps SET state = 'cancelled', finished_at = now() WHERE run = $1 AND state IN ('waiting', 'running', 'parked')`
)

// Steps returns a run's steps in order.
func (s *Store) Steps(ctx context.Context, db postgres.Querier, run int64) ([]Step, error) {
	list, err := postgres.Collect[Step](db.Query(ctx, sqlSteps, run))
	return list, fault.While("read steps", err)
}

// opened returns a run's steps with what they run for and gave.
func (s *Store) opened(ctx context.Context, db postgres.Querier, run int64) ([]Step, error) {
	list, err := s.Steps(ctx, db, run)
	if err != nil {
		return nil, err
	}
	for i := range list {
		row := &list[i]
		item, err := s.unseal(row.Item, stepContext(run, row.Name))
		if err != nil {
			return nil, err
		}
		if item != nil {
			row.item = &golden.Item{Key: item["key"], Value: item["value"]}
		}
		if row.outputs, err = s.unseal(row.Outputs, stepContext(run, row.Name)); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// stepContext binds what is sealed to where it belongs.
func stepContext(run int64, step string) string { return fmt.Sprintf("step %d/%s", run, step) }

// unseal returns what is sealed, nil if nothing is.
func (s *Store) unseal(sealed []byte, context string) (map[string]any, error) {
	if sealed == nil {
		return nil, nil
	}
	text, err := s.Keys.Open(sealed, context)
	if err != nil {
		return nil, err
	}
	var v any
	if err := golden.Decode(text, &v); err != nil {
		return nil, fmt.Errorf("read %s: %w", context, err)
	}
	values, _ := v.(map[string]any) // what is sealed is one
	return values, nil
}

// inTime has parked steps wait no longer than was meant when they were parked, and people no longer asked: the database's clock may
// have been set back since. It returns those that it changes.
func inTime(steps []Step, now time.Time) (changed []Step) {
	for i := range steps {
		s := &steps[i]
		if s.State != graph.Parked || s.Until == nil || s.ParkedAt == nil || s.Until.Before(*s.ParkedAt) {
			continue // of the last: the version before this one has parked it anew
		}
		if back := s.ParkedAt.Sub(now); back > queue.ClockStep {
			until := s.Until.Add(-back)
			s.Until = &until
			if s.AskedAt != nil {
				asked := s.AskedAt.Add(-back)
				s.AskedAt = &asked
			}
			changed = append(changed, *s)
		}
	}
	return changed
}

// parkAgain stores how long steps wait.
func (s *Store) parkAgain(ctx context.Context, tx pgx.Tx, run int64, list []Step, now time.Time) error {
	for _, step := range list {
		if _, err := tx.Exec(ctx, sqlParkAgain, run, step.Name, step.Until, step.AskedAt, now); err != nil {
			return fmt.Errorf("store step %s: %w", step.Name, err)
		}
	}
	return nil
}

// addSteps stores new steps.
func (s *Store) addSteps(ctx context.Context, tx pgx.Tx, run int64, list []*node) error {
	var batch pgx.Batch
	for _, n := range list {
		var item []byte
		if n.item != nil {
			var err error
			if item, err = s.sealJSON(n.item, stepContext(run, n.Name)); err != nil {
				return err
			}
		}
		batch.Queue(sqlInsertStep, run, n.row.Position, n.Name, n.Parent, n.row.ID, append([]string{}, n.Needs...), item)
	}
	return fault.While("store steps", tx.SendBatch(ctx, &batch).Close())
}

// saveStep stores how a step stands. now is the time that it was parked by.
func (s *Store) saveStep(ctx context.Context, tx pgx.Tx, run int64, n *node, now time.Time) error {
	var outputs []byte
	if n.outputs != nil {
		var err error
		if outputs, err = s.sealJSON(n.outputs, stepContext(run, n.Name)); err != nil {
			return err
		}
	}
	row := n.row
	row.State = n.State
	failures := row.Failures
	if failures == nil {
		failures = []StepFailure{}
	}
	err := tx.QueryRow(ctx, sqlSaveStep, run, n.Name, n.State, row.Detail, row.Fault, failures, row.Until, outputs, row.AskedAt, now).
		Scan(&row.StartedAt, &row.FinishedAt)
	return fault.While("store step "+n.Name, err)
}
