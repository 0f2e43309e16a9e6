package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Approval is what a person said to a step that asks.
type Approval struct {
	Step     string    `json:"step"`
	Who      string    `json:"who"`
	Approved bool      `json:"approved"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

const (
	sqlApprovals = `SELECT step, who, approved, reason, at FROM approvals WHERE run = $1 ORDER BY at`
	// Who says something again says it anew.
	sqlApprove = `INSERT INTO approvals (run, step, who, approved, reason) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (run, step, who) DO UPDATE SET approved = $4, reason = $5, at = now()`
)

// Approvals returns what people said to a run, the first first.
func (s *Store) Approvals(ctx context.Context, db postgres.Querier, run int64) ([]Approval, error) {
	list, err := postgres.Collect[Approval](db.Query(ctx, sqlApprovals, run))
	return list, fault.While("read approvals", err)
}

// approve is what an approval step does: it counts what people said, and is put off until enough agree.
func (e *engine) approve(ctx context.Context, n *node) (result, error) {
	a, now := n.step.Approval, e.now()
	var all []Approval
	err := pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) (err error) {
		// Whoever is about to answer in time is heard.
		if err = e.Runs.LockJobs(ctx, tx, e.Queue, e.run.Application); err == nil {
			all, err = e.Runs.Approvals(ctx, tx, e.run.ID)
		}
		return err
	})
	if err != nil {
		return result{}, broken{err}
	}
	by, no := count(all, n.Name)
	if no != nil {
		return result{}, fault.New(fault.ApprovalDenied, "%s rejected step %s%s", no.Who, n.Name, because(no.Reason))
	}
	if len(by) >= a.Count {
		return result{detail: fmt.Sprintf("approved by %s", people(by)), outputs: map[string]any{"by": by}}, nil
	}
	asked := now
	if n.row.AskedAt != nil {
		asked = *n.row.AskedAt
	}
	until := asked.Add(a.Within)
	if !now.Before(until) {
		return result{}, fault.New(fault.ApprovalExpired, "%d of %d approved step %s within %s", len(by), a.Count, n.Name, a.Within)
	}
	question, err := a.Question(n.values)
	if err != nil {
		return result{}, err
	}
	return result{detail: question, park: &parking{until: until, why: asks(a, question, len(by), until), asked: &asked}}, nil
}

// count returns who approved a step, and what rejects it, if anything does.
func count(all []Approval, step string) (by []any, no *Approval) {
	by = []any{}
	for i, said := range all {
		switch {
		case said.Step != step:
		case !said.Approved:
			return by, &all[i]
		default:
			by = append(by, said.Who)
		}
	}
	return by, nil
}

// asks says what people are asked.
func asks(a *golden.Approval, question string, have int, until time.Time) string {
	from := ""
	if len(a.From) > 0 {
		from = " by " + strings.Join(a.From, ", ")
	}
	if question != "" {
		question = " " + question
	}
	return fmt.Sprintf("%d of %d approvals%s until %s.%s", have, a.Count, from, moment(until), question)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

func people(list []any) string {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

// Decide notes what a person says in time to a step of a run that asks, and wakes the run.
func (r *Runner) Decide(ctx context.Context, id int64, said Approval) error {
	return r.change(ctx, id, func(tx pgx.Tx, run Run) error {
		asked, row, err := r.asked(ctx, tx, run, said.Step)
		if err != nil {
			return err
		}
		step := row.Name
		if len(asked.From) > 0 && !slices.Contains(asked.From, said.Who) {
			return fault.New(fault.ApprovalNotYours, "step %s of run %d asks %s, not %s", step, id, strings.Join(asked.From, ", "), said.Who)
		}
		var late bool
		if err := tx.QueryRow(ctx, `SELECT clock_timestamp() >= $1`, row.AskedAt.Add(asked.Within)).Scan(&late); err != nil {
			return fmt.Errorf("ask the time: %w", err)
		}
		if late {
			return fault.New(fault.ApprovalExpired, "step %s of run %d asked until %s", step, id, moment(row.AskedAt.Add(asked.Within))).
				Do("Wait until the run has ended, and resume it before if it is paused; then `reconciler retry` asks again.")
		}
		// What is decided stays so, whenever the run comes to look.
		all, err := r.Runs.Approvals(ctx, tx, id)
		if err != nil {
			return err
		}
		if by, no := count(all, step); no != nil || len(by) >= asked.Count {
			return fault.New(fault.ApprovalUnknown, "step %s of run %d is decided", step, id)
		}
		if _, err := tx.Exec(ctx, sqlApprove, id, step, said.Who, said.Approved, strings.ReplaceAll(r.Redactor.Redact(said.Reason), "\x00", "")); err != nil {
			return fmt.Errorf("note what %s said: %w", said.Who, err)
		}
		return r.Wake(ctx, tx, run.Application)
	})
}

// asked returns the approval that a run waits for: of a step, or the only one if step is "".
func (r *Runner) asked(ctx context.Context, tx pgx.Tx, run Run, step string) (*golden.Approval, *Step, error) {
	var list []*Step
	if run.State == Running && run.Paths != nil {
		rows, err := r.Runs.Steps(ctx, tx, run.ID)
		if err != nil {
			return nil, nil, err
		}
		for i, row := range rows {
			// One that is being looked at right now is asked, too.
			if row.ID != "" && row.AskedAt != nil && !row.State.Final() && (step == "" || row.Name == step) {
				list = append(list, &rows[i])
			}
		}
	}
	if len(list) != 1 {
		f := fault.New(fault.ApprovalUnknown, "run %d waits for no approval of %s", run.ID, orAny(step))
		if len(list) > 1 {
			names := make([]string, len(list))
			for i, row := range list {
				names[i] = row.Name
			}
			f = fault.New(fault.ApprovalUnknown, "run %d waits for several approvals", run.ID).Do("Name one of %s.", strings.Join(names, ", "))
		}
		return nil, nil, f
	}
	set, path, err := r.path(ctx, tx, run)
	if err != nil {
		return nil, nil, err
	}
	a := approvalOf(set, path, list[0].Name)
	if a == nil {
		return nil, nil, fault.New(fault.ApprovalUnknown, "run %d has no approval %s", run.ID, list[0].Name)
	}
	return a, list[0], nil
}

// approvalOf finds the approval of a step by its whole name: "ask", "look[2]/ask".
func approvalOf(set golden.Set, p *golden.Path, name string) *golden.Approval {
	id, below, deeper := strings.Cut(name, "/")
	if p == nil {
		return nil
	}
	id, _, _ = strings.Cut(id, "[")
	s := p.Step(id)
	switch {
	case s == nil:
		return nil
	case deeper:
		return approvalOf(set, set[s.Uses], below)
	default:
		return s.Approval
	}
}

func orAny(step string) string {
	if step == "" {
		return "any step"
	}
	return "step " + step
}

// Pause keeps new steps of a run from beginning until [Runner.Resume]; those at work come to their end. A newer release
// replaces a paused run as any other.
func (r *Runner) Pause(ctx context.Context, id int64, by string) error {
	return r.change(ctx, id, func(tx pgx.Tx, run Run) error {
		if _, err := tx.Exec(ctx, sqlPause, id, by); err != nil {
			return fmt.Errorf("pause run %d: %w", id, err)
		}
		return r.Wake(ctx, tx, run.Application)
	})
}

// Resume lets a paused run go on.
func (r *Runner) Resume(ctx context.Context, id int64) error {
	return r.change(ctx, id, func(tx pgx.Tx, run Run) error {
		if _, err := tx.Exec(ctx, sqlResume, id); err != nil {
			return fmt.Errorf("resume run %d: %w", id, err)
		}
		if err := scheduleTogether(ctx, tx, r.Queue, run); err != nil {
			return err // those who wait for it look again
		}
		return r.Wake(ctx, tx, run.Application)
	})
}

// change runs f on a run that has not ended.
func (r *Runner) change(ctx context.Context, id int64, f func(pgx.Tx, Run) error) error {
	return postgres.Begin(ctx, r.Pool, func(tx pgx.Tx) error {
		run, err := r.Runs.Run(ctx, tx, id)
		if err != nil {
			return err
		}
		// The key first, as the queue does before it ends a job; then the run as it is now.
		if err := r.Runs.LockJobs(ctx, tx, r.Queue, run.Application); err != nil {
			return err
		}
		if run, err = r.Runs.Run(ctx, tx, id); err != nil {
			return err
		}
		if run.State.Final() {
			return fault.New(fault.JobFinished, "run %d has ended", id)
		}
		return f(tx, run)
	})
}

// Wake has an application's run that was put off looked at now.
func (r *Runner) Wake(ctx context.Context, tx pgx.Tx, application int64) error {
	_, err := r.Queue.Hasten(ctx, tx, JobKind, jobKey(application))
	return fault.While("wake the run", err)
}
