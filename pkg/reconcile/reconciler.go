package reconcile

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/status"
	"github.com/innominatus/reconciler/pkg/trace"
)

// The kinds of the queue's jobs that are done here.
const (
	// JobBranch evaluates a commit of a branch.
	JobBranch = "branch"
	// JobPull plans a pull request.
	JobPull = "pull"
)

const (
	// timeout bounds one evaluation: fetching is the longest part.
	timeout = 10 * time.Minute
	// attempts of an evaluation: with the back-off below, over about an hour; a new commit or look starts anew.
	attempts = 20
)

// Tree is what a commit holds.
type Tree interface {
	// Paths returns the regular files that match, sorted. Anything that cannot be read is an error: a file that is not
	// in the answer is not in the commit.
	Paths(match func(path string) bool) ([]string, error)
	// Read returns the content of a regular file; found is false if there is nothing at the path.
	Read(path string) (content []byte, found bool, err error)
}

// Source fetches commits.
type Source interface {
	// Tree returns the tree of a commit that a branch was at.
	Tree(ctx context.Context, r gitwatch.Repository, branch, commit string) (Tree, error)
	// Merge returns what merging a pull request into its base gives, and the paths that conflict.
	Merge(ctx context.Context, r gitwatch.Repository, p gitwatch.Pull) (Tree, []string, error)
}

// Queue is what is needed of the queue.
type Queue interface {
	Enqueue(ctx context.Context, tx pgx.Tx, inserts ...queue.Insert) ([]queue.Enqueued, error)
	Lock(ctx context.Context, tx pgx.Tx, keys ...string) error
}

// Reconciler joins the rooms.
type Reconciler struct {
	Pool     *pgxpool.Pool
	Queue    Queue
	Source   Source
	Planner  *planner.Store
	Platform *platform.Store
	Runs     *apply.Store
	Runner   *apply.Runner
	Outbox   *status.Outbox
	Keys     *secret.Keyring
	Redactor *secret.Redactor
	// Instance names this installation in contexts and comments; URL is its address without a slash at the end.
	Instance, URL string
	Tracer        oteltrace.Tracer
	Log           zerolog.Logger
}

var _ gitwatch.Sink = (*Reconciler)(nil)

// Handlers returns what the queue calls, by kind of job.
func (r *Reconciler) Handlers() map[string]queue.Handler {
	return map[string]queue.Handler{
		JobBranch: {Work: r.branch, OnEnd: r.branchEnded, Timeout: timeout, MaxAttempts: attempts, BackoffCap: 5 * time.Minute},
		JobPull:   {Work: r.pull, OnEnd: r.pullEnded, Timeout: timeout, MaxAttempts: attempts, BackoffCap: 5 * time.Minute},
	}
}

type branchArgs struct {
	Repository string `json:"repository"`
	Branch     string `json:"branch"`
	Generation int64  `json:"generation"`
	Commit     string `json:"commit"`
	// Trace is what asked for it.
	Trace trace.Parent `json:"trace,omitempty"`
}

type pullArgs struct {
	Repository string `json:"repository"`
	Number     int64  `json:"number"`
	Generation int64  `json:"generation"`
	Head       string `json:"head"`
	// Base is the branch that it was to be merged into.
	Base string `json:"base"`
	// Trace is what asked for it.
	Trace trace.Parent `json:"trace,omitempty"`
}

// base is the branch that the pull request was to be merged into; jobs of older versions do not say it.
func (a pullArgs) base(now gitwatch.Pull) string { return cmp.Or(a.Base, now.BaseRef) }

// Moved implements [gitwatch.Sink].
func (r *Reconciler) Moved(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, ref gitwatch.Ref) error {
	if ref.Commit != nil {
		if err := r.sayAll(ctx, tx, repo, ref.Name, *ref.Commit, forge.Pending, looking); err != nil {
			return err
		}
	}
	return r.enqueueBranch(ctx, tx, repo, ref)
}

func (r *Reconciler) enqueueBranch(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, ref gitwatch.Ref) error {
	args := branchArgs{Repository: repo.Name, Branch: ref.Name, Generation: ref.Generation, Trace: trace.From(ctx)}
	if ref.Commit != nil {
		args.Commit = *ref.Commit
	}
	enqueued, err := r.Queue.Enqueue(ctx, tx, queue.Insert{
		Kind: JobBranch, Key: fmt.Sprintf("branch/%s/%s", repo.Name, ref.Name), Owner: repo.Name, Generation: ref.Generation, Args: args,
	})
	if err != nil {
		return err
	}
	for _, old := range enqueued[0].Replaced {
		var replaced branchArgs
		if err := (&queue.Job{Args: old.Args}).Bind(&replaced); err != nil {
			return err
		}
		if replaced.Commit == args.Commit {
			continue
		}
		if err := r.passedOver(ctx, tx, repo, ref.Name, ref.Name, replaced.Commit); err != nil {
			return err
		}
	}
	return nil
}

// What is said of a commit until it was looked at, also anew: of a branch's, and of a pull request's head.
const (
	looking  = "looking at the commit"
	planning = "planning"
)

// passedOver tells that nobody will look at a commit any more, because a newer one came before its turn. ref is what the
// commit was to be evaluated for, branch what environments follow.
func (r *Reconciler) passedOver(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, ref, branch, commit string) error {
	if commit == "" {
		return nil
	}
	for _, environment := range repo.Branches[branch] {
		e, err := r.loadEvaluation(ctx, tx, repo.Name, ref, environment, commit)
		if err != nil {
			return err
		}
		if e != nil {
			err = r.sayAgain(ctx, tx, *e)
		} else {
			err = r.Outbox.Say(ctx, tx, r.statusReport(repo.Name, commit, environment, forge.Success, "superseded by a newer commit"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sayAgain says of a commit that was to be looked at anew, and will not be, what came of the look before.
func (r *Reconciler) sayAgain(ctx context.Context, tx pgx.Tx, e evaluation) error {
	said, err := r.Outbox.Said(ctx, tx, e.Repository, e.Commit, r.statusContext(e.Environment))
	if err != nil || said != looking && said != planning {
		return err
	}
	if !strings.HasPrefix(e.Ref, "#") {
		return r.refresh(ctx, tx, e.Repository, e.Commit)
	}
	state, text := proposed(e.Outcome)
	return r.Outbox.Say(ctx, tx, r.statusReport(e.Repository, e.Commit, e.Environment, state, text))
}

// Seen implements [gitwatch.Sink].
func (r *Reconciler) Seen(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, p gitwatch.Pull) error {
	switch p.State {
	case forge.Closed:
		if err := r.unplanned(ctx, tx, repo, p, p.HeadCommit, p.BaseRef); err != nil {
			return err
		}
		return r.sayClosed(ctx, tx, repo, p)
	case forge.Merged:
		if err := r.unplanned(ctx, tx, repo, p, p.HeadCommit, p.BaseRef); err != nil {
			return err
		}
		// The branch moves and is evaluated. If it was seen before the merge was, the record is written now, and what waits
		// because the pull request was not known is looked at again.
		list, err := evaluations(tx.Query(ctx, sqlEvaluations, repo.Name, p.MergeCommit))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(list, func(e evaluation) bool { return slices.ContainsFunc(e.Outcome, waitsForPull) }) {
			return r.again(ctx, tx, repo)
		}
		return r.refresh(ctx, tx, repo.Name, p.MergeCommit)
	case forge.Open:
	}
	if err := r.sayAll(ctx, tx, repo, p.BaseRef, p.HeadCommit, forge.Pending, planning); err != nil {
		return err
	}
	return r.enqueuePull(ctx, tx, repo, p)
}

// unplanned takes back that a head of a pull request is being planned for a base, if that ended before it was: nobody plans it
// any more.
func (r *Reconciler) unplanned(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, p gitwatch.Pull, head, base string) error {
	text := fmt.Sprintf("the pull request was %s before it was planned", p.State)
	if p.State == forge.Open {
		text = fmt.Sprintf("the pull request goes to %s now", p.BaseRef)
	}
	for _, environment := range repo.Branches[base] {
		e, err := r.loadEvaluation(ctx, tx, repo.Name, pullRef(p.Number), environment, head)
		if err == nil && e != nil {
			err = r.sayAgain(ctx, tx, *e)
		}
		if err != nil {
			return err
		}
		said, err := r.Outbox.Said(ctx, tx, repo.Name, head, r.statusContext(environment))
		if err != nil {
			return err
		}
		if said != planning {
			continue
		}
		if err := r.Outbox.Say(ctx, tx, r.statusReport(repo.Name, head, environment, forge.Success, text)); err != nil {
			return err
		}
	}
	return nil
}

// waitsForPull says that an application waits because its plan is not, or not known to be, that of its pull request.
func waitsForPull(o status.Outcome) bool {
	return o.Waiting != nil && o.Waiting.Code == fault.PlanDiffers
}

func (r *Reconciler) enqueuePull(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, p gitwatch.Pull) error {
	enqueued, err := r.Queue.Enqueue(ctx, tx, queue.Insert{
		Kind: JobPull, Key: fmt.Sprintf("pull/%s/%d", repo.Name, p.Number), Owner: repo.Name, Generation: p.Generation,
		Args: pullArgs{repo.Name, p.Number, p.Generation, p.HeadCommit, p.BaseRef, trace.From(ctx)},
	})
	if err != nil {
		return err
	}
	for _, old := range enqueued[0].Replaced {
		var replaced pullArgs
		if err := (&queue.Job{Args: old.Args}).Bind(&replaced); err != nil {
			return err
		}
		if replaced.Head == p.HeadCommit && replaced.base(p) == p.BaseRef {
			continue
		}
		if err := r.passedOver(ctx, tx, repo, pullRef(p.Number), replaced.base(p), replaced.Head); err != nil {
			return err
		}
	}
	return nil
}

// Changed implements [gitwatch.Sink].
func (r *Reconciler) Changed(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository) error {
	return r.again(ctx, tx, repo)
}

// PlatformChanged evaluates everything anew with another platform configuration.
func (r *Reconciler) PlatformChanged(ctx context.Context, tx pgx.Tx) error {
	list, err := gitwatch.Repositories(ctx, tx)
	if err != nil {
		return err
	}
	for _, repo := range list {
		if err := r.again(ctx, tx, repo); err != nil {
			return err
		}
	}
	return nil
}

// again evaluates the branches and pull requests of a repository anew. Nothing is said until something is different.
func (r *Reconciler) again(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository) error {
	refs, err := gitwatch.Refs(ctx, tx, repo.Name)
	if err != nil {
		return err
	}
	for _, ref := range refs {
		if _, followed := repo.Branches[ref.Name]; !followed || ref.Commit == nil {
			continue
		}
		if ref, err = gitwatch.Touch(ctx, tx, repo.Name, ref.Name); err != nil {
			return err
		}
		if err := r.enqueueBranch(ctx, tx, repo, ref); err != nil {
			return err
		}
	}
	pulls, err := gitwatch.Pulls(ctx, tx, repo.Name, forge.Open)
	if err != nil {
		return err
	}
	for _, p := range pulls {
		if p, err = gitwatch.TouchPull(ctx, tx, repo.Name, p.Number); err != nil {
			return err
		}
		if err := r.enqueuePull(ctx, tx, repo, p); err != nil {
			return err
		}
	}
	return nil
}

// context names the status of an environment; the instance is part of it, so that two installations that report to one
// commit do not overwrite each other.
func (r *Reconciler) statusContext(environment string) string {
	return strings.Join([]string{"reconciler", r.Instance, environment}, "/")
}

// sayAll sets the status of every environment that follows a branch.
func (r *Reconciler) sayAll(ctx context.Context, tx pgx.Tx, repo gitwatch.Repository, branch, commit string, state forge.State, text string) error {
	var reports []status.Report
	for _, e := range repo.Branches[branch] {
		reports = append(reports, r.statusReport(repo.Name, commit, e, state, text))
	}
	return r.Outbox.Say(ctx, tx, reports...)
}

func (r *Reconciler) statusReport(repository, commit, environment string, state forge.State, text string) status.Report {
	return status.Report{
		Repository: repository, Kind: status.KindStatus, Target: commit, Context: r.statusContext(environment), State: state, Body: text,
		URL: fmt.Sprintf("%s/revisions/%s/%s", r.URL, repository, commit),
	}
}
