package apply

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// AtomicAnnotation in a Score file's metadata names the applications of a repository that are deployed all or none: if one of
// them fails, the others of the same commit and environment go back, too.
const AtomicAnnotation = "reconciler.dev/atomic"

// TogetherKind is the kind of the queue's jobs that take back what was deployed together with a release that failed.
const TogetherKind = "together"

// togetherArgs name runs that are deployed all or none.
type togetherArgs struct {
	Repository  string `json:"repository"`
	Environment string `json:"environment"`
	Commit      string `json:"commit"`
	Atomic      string `json:"atomic"`
	// Failed is the name of the application that failed.
	Failed string `json:"failed"`
}

const sqlTogether = `SELECT ` + runColumns + ` FROM runs
WHERE repository = $1 AND commit = $2 AND environment = $3 AND atomic = $4 AND kind = 'deploy' ORDER BY application, id`

// TogetherHandler returns what the queue calls for jobs of [TogetherKind].
func (r *Runner) TogetherHandler() queue.Handler {
	h := r.Handler()
	h.Work, h.OnEnd = r.workTogether, nil
	return h
}

// scheduleTogether has the others of a run that failed taken back.
func (r *Runner) scheduleTogether(ctx context.Context, tx pgx.Tx, run Run) error {
	if run.Atomic == "" || run.Kind != Deploy {
		return nil
	}
	args := togetherArgs{run.Repository, run.Environment, run.Commit, run.Atomic, run.Name}
	_, err := r.Queue.Enqueue(ctx, tx, queue.Insert{
		Kind: TogetherKind, Key: fmt.Sprintf("together/%s/%s/%s", run.Environment, run.Repository, run.Commit), Owner: run.Repository, Dedupe: digest([]byte(run.Atomic)), Args: args,
	})
	return fault.While("enqueue what takes the others back", err)
}

func (r *Runner) workTogether(ctx context.Context, job *queue.Job) error {
	var args togetherArgs
	if err := job.Bind(&args); err != nil {
		return err
	}
	runs, err := postgres.Collect[Run](r.Pool.Query(ctx, sqlTogether, args.Repository, args.Commit, args.Environment, args.Atomic))
	if err != nil {
		return fmt.Errorf("read runs: %w", err)
	}
	for _, run := range runs {
		if run.Name == args.Failed {
			continue // it has been answered
		}
		stop := false
		err := pgx.BeginFunc(ctx, r.Pool, func(tx pgx.Tx) (err error) {
			if stop, err = r.takeBack(ctx, tx, run, args.Failed); err != nil {
				return err
			}
			return job.Hold(ctx, tx)
		})
		if err == nil && stop {
			err = r.stop(ctx, run, args.Failed)
		}
		if err != nil {
			return fmt.Errorf("take back %s: %w", run.Name, err)
		}
	}
	return nil
}

// takeBack applies the last good release of an application again, because another one failed, and holds back what the commit
// asks for. stop says that there is no such release, so that the run itself is to be stopped.
func (r *Runner) takeBack(ctx context.Context, tx pgx.Tx, run Run, failed string) (stop bool, err error) {
	if err := r.Runs.LockJobs(ctx, tx, r.Queue, run.Application); err != nil {
		return false, err
	}
	a, err := r.Planner.Lock(ctx, tx, run.Application)
	if err != nil || a.Generation > run.Generation || a.RemovedAt != nil {
		return false, err // it has taken care of itself, or something newer is there
	}
	digest, err := r.Planner.Digest(ctx, tx, a.ID, run.Generation)
	if err != nil {
		return false, err
	}
	told, err := r.undo(ctx, tx, a, run)
	if err != nil {
		return false, err
	}
	reason := fmt.Sprintf("%s of the same commit failed, and %s is deployed with it or not at all", failed, run.Name)
	if told == "" {
		reason += "; there is no earlier release to go back to"
	}
	if a.Hold == nil || a.Hold.Digest != "" {
		hold := planner.Hold{By: "reconciler", Digest: planner.HeldDigest(digest), Reason: reason + told}
		if err := r.Planner.SetHold(ctx, tx, a.ID, hold); err != nil {
			return false, err
		}
	}
	return told == "", r.Changed(ctx, tx, run)
}

// stop stops a run that has not ended.
func (r *Runner) stop(ctx context.Context, run Run, failed string) error {
	job, err := r.Runs.JobOf(ctx, r.Queue, run)
	if err == nil {
		err = r.Queue.Cancel(ctx, job, failed+" of the same commit failed")
	}
	if f, ok := fault.As(err); ok && (f.Code == fault.JobFinished || f.Code == fault.JobNotFound) {
		return nil
	}
	return err
}
