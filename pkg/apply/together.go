package apply

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// AtomicAnnotation in a Score file's metadata names the applications of a repository that are deployed all or none in an
// environment: none is touched before all may be, and if one of them is not deployed after all, the others go back.
const AtomicAnnotation = "reconciler.dev/atomic"

// TogetherKind is the kind of the queue's jobs that take back what was deployed together with a release that was not, or wake
// what waits for it.
const TogetherKind = "together"

// meetStep is the first step of runs that are deployed together.
const meetStep = "together"

// meetAgain is when a run that waits for others looks again; the last one of them wakes it.
const meetAgain = time.Minute

// togetherArgs name runs that are deployed all or none.
type togetherArgs struct {
	Repository  string `json:"repository"`
	Environment string `json:"environment"`
	Atomic      string `json:"atomic"`
	// Failed is the name of the application that was not deployed, "" if one left that is not waited for any more.
	Failed string `json:"failed,omitempty"`
}

const (
	// The newest run of each application; an older one was replaced.
	newestTogether = ` FROM runs r WHERE repository = $1 AND environment = $2 AND atomic = $3 AND kind = 'deploy' ORDER BY application, generation DESC`
	sqlTogether    = `SELECT DISTINCT ON (application) ` + runColumns + newestTogether
	// next is what replaced a run, by another one than those that are deployed together; met says that it got as far as to
	// wait for the others.
	sqlMeeting = `SELECT DISTINCT ON (application) id, application, name, state, paused_by IS NOT NULL AS paused,
coalesce((SELECT kind FROM runs n WHERE n.application = r.application AND n.generation > r.generation ORDER BY generation DESC LIMIT 1), '') AS next,
EXISTS (SELECT FROM steps s WHERE s.run = r.id AND s.id = '' AND (s.name = '` + meetStep + `' OR s.name LIKE '%/` + meetStep + `') AND s.attempt > 0) AS met` + newestTogether
	// Those under way, if all that came into it still may be deployed. The number behind a name tells its deployments apart.
	sqlUnderWay = `SELECT coalesce((SELECT atomic FROM runs r WHERE repository = $1 AND environment = $2 AND kind = 'deploy' AND state IN ('queued', 'running')
AND atomic <> '' AND regexp_replace(atomic, ' [0-9]+$', '') = $3 AND ` + allWell + ` ORDER BY id LIMIT 1), '')`
	// allWell is true of a run r if no newest run of those that it is deployed together with failed.
	allWell = `NOT EXISTS (SELECT FROM runs o WHERE o.repository = r.repository AND o.environment = r.environment AND o.atomic = r.atomic
AND o.state IN ('failed', 'cancelled') AND NOT EXISTS (SELECT FROM runs n WHERE n.application = o.application AND n.atomic = o.atomic AND n.generation > o.generation))`
	sqlFirstTogether = `SELECT min(generation) FROM runs WHERE application = $1 AND atomic = $2`
)

// together says that a run is deployed with others or not at all.
func (r Run) together() bool { return r.Atomic != "" && r.Kind == Deploy }

// Together names what the runs belong to that are made now of the applications with an annotation's value: what is under way
// already, so that all of it goes back as one, or something new that a number tells from all others.
func (s *Store) Together(ctx context.Context, db postgres.Querier, repository, environment, value string, number int64) (string, error) {
	var name string
	if err := db.QueryRow(ctx, sqlUnderWay, repository, environment, value).Scan(&name); err != nil {
		return "", fmt.Errorf("read what is deployed together: %w", err)
	}
	if name == "" {
		name = fmt.Sprintf("%s %d", value, number)
	}
	return name, nil
}

// Others returns the newest runs of those that a run is deployed together with.
func (s *Store) Others(ctx context.Context, db postgres.Querier, run Run) (others []Run, err error) {
	if !run.together() {
		return nil, nil
	}
	list, err := postgres.Collect[Run](db.Query(ctx, sqlTogether, run.Repository, run.Environment, run.Atomic))
	for _, other := range list {
		if other.Application != run.Application {
			others = append(others, other)
		}
	}
	return others, fault.While("read runs that go together", err)
}

// member is one of those that meet before anything is touched.
type member struct {
	ID, Application int64
	Name            string
	State           State
	Paused, Met     bool
	Next            Kind
}

// meet waits until all that is deployed together may be, and wakes those who wait for it.
func (e *execution) meet(ctx context.Context, _ string) (result, error) {
	all, err := postgres.Collect[member](e.Pool.Query(ctx, sqlMeeting, e.run.Repository, e.run.Environment, e.run.Atomic))
	if err != nil {
		return result{}, broken{fmt.Errorf("read runs that go together: %w", err)}
	}
	var others []member
	var missing []string
	for _, m := range all {
		if m.Application == e.run.Application || m.State == Superseded && m.Next != Rollback {
			continue // itself, or one that a newer commit took out
		}
		there, err := e.there(ctx, m)
		if err != nil {
			return result{}, broken{err}
		}
		if others = append(others, m); !there {
			missing = append(missing, m.Name)
		}
	}
	if len(missing) > 0 {
		now := e.now()
		return result{detail: "waits for " + strings.Join(missing, ", "), park: &parking{until: now.Add(meetAgain), asked: &now}}, nil
	}
	names := make([]string, len(others))
	for i, m := range others {
		names[i] = m.Name
		if err := pgx.BeginFunc(ctx, e.Pool, func(tx pgx.Tx) error { return e.Wake(ctx, tx, m.Application) }); err != nil {
			return result{}, broken{err}
		}
	}
	if len(names) == 0 {
		return result{detail: "no other one changes"}, nil
	}
	return result{detail: "with " + strings.Join(names, ", ")}, nil
}

// there says whether one of those that go together may be deployed. One that failed will not be: whoever waits for it is taken
// back.
func (e *execution) there(ctx context.Context, m member) (bool, error) {
	switch {
	case m.State == Succeeded:
		return true, nil
	case m.State.Final() || !m.Met || m.Paused:
		return false, nil
	}
	a, err := e.Planner.Application(ctx, e.Pool, m.Application)
	return err == nil && (a.Hold == nil || a.Hold.Digest != ""), err
}

// TogetherHandler returns what the queue calls for jobs of [TogetherKind].
func (r *Runner) TogetherHandler() queue.Handler {
	h := r.Handler()
	h.Work, h.OnEnd = r.workTogether, nil
	return h
}

// scheduleTogether has those taken back that are deployed with a run that failed or not at all, or looked at again if it left.
func scheduleTogether(ctx context.Context, tx pgx.Tx, q Enqueuer, run Run, failed string) error {
	if !run.together() {
		return nil
	}
	_, err := q.Enqueue(ctx, tx, queue.Insert{
		Kind: TogetherKind, Key: fmt.Sprintf("together/%s/%s", run.Environment, run.Repository), Owner: run.Repository,
		Dedupe: digest([]byte(run.Atomic + " " + failed)), Args: togetherArgs{run.Repository, run.Environment, run.Atomic, failed},
	})
	return fault.While("enqueue what takes the others back", err)
}

func (r *Runner) workTogether(ctx context.Context, job *queue.Job) error {
	var args togetherArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	runs, err := postgres.Collect[Run](r.Pool.Query(ctx, sqlTogether, args.Repository, args.Environment, args.Atomic))
	if err != nil {
		return fmt.Errorf("read runs that go together: %w", err)
	}
	for _, run := range runs {
		err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
			var err error
			if args.Failed == "" {
				err = r.Wake(ctx, tx, run.Application)
			} else {
				err = r.takeBack(ctx, tx, run, args.Failed)
			}
			if err != nil {
				return err
			}
			return job.Hold(ctx, tx)
		})
		if err != nil {
			return fmt.Errorf("answer %s: %w", run.Name, err)
		}
	}
	return nil
}

// takeBack applies what was there before a run again, because another application was not deployed. What its commit asks for
// waits for that one.
func (r *Runner) takeBack(ctx context.Context, tx pgx.Tx, run Run, failed string) error {
	if err := r.Runs.LockJobs(ctx, tx, r.Queue, run.Application); err != nil {
		return err
	}
	a, err := r.Planner.Lock(ctx, tx, run.Application)
	if err != nil || a.Generation > run.Generation || a.RemovedAt != nil {
		return err // it has been answered, or something newer is there
	}
	told, err := r.undo(ctx, tx, a, run)
	if err != nil {
		return err
	}
	if a.Waiting == "" {
		why := fault.New(fault.Together, "%s, with which it is deployed, was not deployed%s", failed, told)
		if err := r.Planner.Wait(ctx, tx, a.ID, run.Plan, why); err != nil {
			return err
		}
	}
	return r.Changed(ctx, tx, run)
}

// nothing is the way back to what was there before the first release of an application: nothing. Data that its run may have
// made stays, as with any other rollback.
func (r *Runner) nothing(ctx context.Context, tx pgx.Tx, a planner.Application) (Return, error) {
	base, err := r.Planner.Base(ctx, tx, a)
	if err == nil {
		base, err = r.Runs.Base(ctx, tx, a, base)
	}
	return Return{Plan: planner.NewPlan(a.Name, a.Environment, "rollback", base, nil)}, err
}
