package apply

import (
	"context"
	"errors"
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
const meetStep = "meet"

// meetAgain is when a run that waits for others looks again; the last one of them wakes it.
const meetAgain = time.Minute

// togetherArgs name runs that are deployed all or none. Older versions name them otherwise: what they enqueue has the number 0,
// and their runs are on their own.
type togetherArgs struct {
	Together int64 `json:"together"`
}

const (
	// isLeft is true of a run m whose place a commit took: it is not waited for, and what becomes of it spoils nothing.
	isLeft = `coalesce((SELECT n.kind <> 'rollback' FROM runs n WHERE n.application = m.application AND n.generation > m.generation
ORDER BY n.generation LIMIT 1), false)`
	// isLost is true of a run m that was not deployed, or was taken back before the others were, and whose place no commit took:
	// the others go back.
	isLost = `((m.state IN ('failed', 'cancelled', 'superseded') OR m.withdrawn) AND NOT ` + isLeft + `)`
	// isWell is true of a run r if nothing is lost of what it is deployed together with.
	isWell = `NOT EXISTS (SELECT FROM runs m WHERE m.together = r.together AND m.together > 0 AND ` + isLost + `)`
	// isNewest is true of a run m after which nothing came.
	isNewest = `NOT EXISTS (SELECT FROM runs n WHERE n.application = m.application AND n.generation > m.generation)`
	// isUnderWay is true of a run r if one that it is deployed together with has not come to its end.
	isUnderWay = `EXISTS (SELECT FROM runs m WHERE m.together = r.together AND m.together > 0 AND m.state IN ('queued', 'running') AND ` + isNewest + `)`

	// The newest run of each application. met says that it got as far as to wait for the others.
	sqlMembers = `SELECT DISTINCT ON (application) ` + runColumns + `, ` + isLeft + ` AS out, ` + isLost + ` AS lost,
EXISTS (SELECT FROM steps s WHERE s.run = m.id AND s.id = '' AND (s.name = '` + meetStep + `' OR s.name LIKE '%/` + meetStep + `') AND s.attempt > 0) AS met
FROM runs m WHERE together = $1 AND together > 0 ORDER BY application, generation DESC`
	// What is under way, if all that came into it still may be deployed, or something new.
	sqlTogether = `SELECT coalesce((SELECT together FROM (SELECT max(together) AS together FROM runs
  WHERE repository = $1 AND environment = $2 AND atomic = $3 AND together > 0) r
WHERE ` + isWell + ` AND ` + isUnderWay + `),
nextval('together'))`
	// Of a run that a person takes back: it counts only while another one has not come to its end.
	sqlWithdraw = `UPDATE runs r SET withdrawn = true WHERE application = $1 AND generation = $2 AND together > 0 AND state = 'succeeded'
AND ` + isUnderWay + ` RETURNING ` + runColumns
	// Who is deployed with a run's application still: nothing came after it, but the way back.
	sqlStillTogether = `SELECT ` + runColumns + ` FROM runs m WHERE together = $1 AND together > 0 AND application <> $2
AND NOT EXISTS (SELECT FROM runs n WHERE n.application = m.application AND n.generation > m.generation AND n.kind <> 'rollback') ORDER BY id`
	sqlGoesBack      = `SELECT EXISTS (SELECT FROM runs r WHERE application = $1 AND generation = $2 AND together > 0 AND NOT ` + isWell + `)`
	sqlFirstTogether = `SELECT min(generation) FROM runs WHERE application = $1 AND together = $2`
	sqlKept          = `UPDATE runs SET kept = $2 WHERE id = $1`
	// What stands although it should not, whether or not anybody came as far as to say why.
	sqlAllKept = `UPDATE runs m SET kept = coalesce(kept, $2) WHERE together = $1 AND together > 0 AND ` + isNewest + ` AND NOT ` + isLost + `
AND EXISTS (SELECT FROM runs m WHERE m.together = $1 AND m.together > 0 AND ` + isLost + `) RETURNING ` + runColumns
)

// together says that a run is deployed with others or not at all.
func (r Run) together() bool { return r.Together > 0 }

// JoinOrBegin returns the number of the runs that are made now of applications with an annotation's value: that of what is under
// way already, so that all of it goes back as one, or a new one.
func (s *Store) JoinOrBegin(ctx context.Context, db postgres.Querier, repository, environment, value string) (number int64, err error) {
	err = db.QueryRow(ctx, sqlTogether, repository, environment, value).Scan(&number)
	return number, fault.While("read what is deployed together", err)
}

// GoesBack says whether an application's generation goes back, because something is lost that it is deployed together with.
func (s *Store) GoesBack(ctx context.Context, db postgres.Querier, application, generation int64) (yes bool, err error) {
	err = db.QueryRow(ctx, sqlGoesBack, application, generation).Scan(&yes)
	return yes, fault.While("read what is deployed together", err)
}

// Withdraw has what is under way go back together with an application's generation, which is about to be rolled back although
// it succeeded.
func (r *Runner) Withdraw(ctx context.Context, tx pgx.Tx, application, generation int64) error {
	list, err := postgres.Collect[Run](tx.Query(ctx, sqlWithdraw, application, generation))
	if err != nil || len(list) == 0 {
		return fault.While("withdraw a run", err)
	}
	return scheduleTogether(ctx, tx, r.Queue, list[0])
}

// Others returns the runs of the other applications that one is still deployed together with.
func (s *Store) Others(ctx context.Context, db postgres.Querier, run Run) ([]Run, error) {
	list, err := postgres.Collect[Run](db.Query(ctx, sqlStillTogether, run.Together, run.Application))
	return list, fault.While("read runs that go together", err)
}

// member is the newest run of one of the applications that are deployed together.
type member struct {
	Run
	// Out: a commit took its place, in another company. Lost: it was not deployed, and the others go back. Met: it waits for
	// the others, or has.
	Out, Lost, Met bool
}

func (s *Store) members(ctx context.Context, db postgres.Querier, together int64) ([]member, error) {
	list, err := postgres.Collect[member](db.Query(ctx, sqlMembers, together))
	return list, fault.While("read runs that go together", err)
}

// meet waits until all that is deployed together may be, and wakes those who wait for it.
func (e *execution) meet(ctx context.Context, _ string) (result, error) {
	all, err := e.Runs.members(ctx, e.Pool, e.run.Together)
	if err != nil {
		return result{}, broken{err}
	}
	var others []member
	var missing []string
	for _, m := range all {
		if m.Application == e.run.Application || m.Out && m.State != Succeeded {
			continue // itself, or one that is not deployed with it any more
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
		return !m.Lost, nil
	case m.State.Final() || !m.Met || m.PausedBy != nil:
		return false, nil
	}
	a, err := e.Planner.Application(ctx, e.Pool, m.Application)
	return err == nil && !a.Hold.HoldsAll(), err
}

// TogetherHandler returns what the queue calls for jobs of [TogetherKind].
func (r *Runner) TogetherHandler() queue.Handler {
	h := r.Handler()
	h.Work, h.OnEnd = r.workTogether, r.togetherEnded
	return h
}

// scheduleTogether has those looked after that are deployed with a run that ended otherwise than well.
func scheduleTogether(ctx context.Context, tx pgx.Tx, q Enqueuer, run Run) error {
	if !run.together() {
		return nil
	}
	_, err := q.Enqueue(ctx, tx, queue.Insert{
		Kind: TogetherKind, Key: fmt.Sprintf("together/%d", run.Together), Owner: run.Repository,
		Dedupe: fmt.Sprint(run.Together), Args: togetherArgs{run.Together},
	})
	return fault.While("enqueue what looks after the others", err)
}

// workTogether takes back what is deployed together with a run that is lost, or lets it look again whether it may go on. One
// that cannot be taken back keeps none of the others from it.
func (r *Runner) workTogether(ctx context.Context, job *queue.Job) error {
	var args togetherArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	all, err := r.Runs.members(ctx, r.Pool, args.Together)
	if err != nil {
		return err
	}
	failed := firstLost(all)
	var failure error // of several, one that may be gone the next time
	for _, m := range all {
		err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
			if err := r.lookAfter(ctx, tx, m, failed); err != nil {
				return err
			}
			return job.Hold(ctx, tx)
		})
		switch {
		case err == nil:
		case ctx.Err() != nil, errors.Is(err, queue.ErrLeaseLost):
			return err
		case failure == nil || fault.ClassOf(err) == fault.Retryable:
			failure = fmt.Errorf("answer %s: %w", m.Name, err)
		}
		if err != nil && failed != nil {
			if err := r.keep(ctx, job, m, err); err != nil {
				return err
			}
		}
	}
	return failure
}

// keep notes why a member is not taken back.
func (r *Runner) keep(ctx context.Context, job *queue.Job, m member, why error) error {
	return pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, sqlKept, m.ID, r.kept(fault.Of(why)[0].Message)); err != nil {
			return fmt.Errorf("note what is not taken back: %w", err)
		}
		return job.Hold(ctx, tx)
	})
}

// lookAfter does with a member what follows from which one is lost, if one is.
func (r *Runner) lookAfter(ctx context.Context, tx pgx.Tx, m member, failed *member) error {
	switch {
	case failed == nil:
		return r.Wake(ctx, tx, m.Application)
	case m.Lost:
		return nil
	default:
		return r.takeBack(ctx, tx, m.Run, failed)
	}
}

// firstLost returns the run because of which all that are deployed together go back, nil if none has to.
func firstLost(all []member) (first *member) {
	for i, m := range all {
		if m.Lost && (first == nil || m.FinishedAt.Before(*first.FinishedAt)) {
			first = &all[i]
		}
	}
	return first
}

// kept says why a run is not taken back.
func (r *Runner) kept(why string) *fault.Fault {
	return r.redacted(fault.New(fault.NotUndone, "it is not taken back: %s", why).
		Do("Run `reconciler rollback`, or mend what is in the way and run `reconciler jobs retry JOB`; `reconciler jobs --kind together --state dead` names the job."))
}

// togetherEnded tells of what could not be taken back, and will not be by itself.
func (r *Runner) togetherEnded(ctx context.Context, tx pgx.Tx, job *queue.Job, cause error) error {
	var args togetherArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	list, err := postgres.Collect[Run](tx.Query(ctx, sqlAllKept, args.Together, r.kept(fault.Of(cause)[0].Message)))
	if err != nil {
		return fmt.Errorf("note what is not taken back: %w", err)
	}
	return r.Changed(ctx, tx, list...)
}

// takeBack applies what was there before a run again, because another application was not deployed. What its commit asks for
// waits for that one.
func (r *Runner) takeBack(ctx context.Context, tx pgx.Tx, run Run, failed *member) error {
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
		became := "not deployed"
		if failed.State == Succeeded {
			became = "rolled back"
		}
		why := fault.New(fault.Together, "%s, with which it is deployed, was %s%s", failed.Name, became, told)
		if err := r.Planner.Wait(ctx, tx, a.ID, run.Plan, why); err != nil {
			return err
		}
	}
	next, err := r.Runs.Next(ctx, tx, run)
	if err == nil && next == nil {
		_, err = tx.Exec(ctx, sqlKept, run.ID, r.kept(strings.TrimPrefix(told, "; ")))
	}
	if err != nil {
		return fmt.Errorf("note what is not taken back: %w", err)
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
