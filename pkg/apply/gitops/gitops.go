// Package gitops delivers manifests into a deployment repository from which Argo CD or Flux deploys: one commit per run,
// built beside what others commit, never forced.
//
// Secrets with values never reach the repository: they are written to a folder of the environment, or the release is
// refused.
package gitops

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/apply/directory"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/queue"
)

const (
	// pushAttempts is how often a run builds its commit anew because others were faster, before the whole attempt counts
	// as failed and is tried again later.
	pushAttempts = 10
	// pushWait is the first wait after a rejected push; the following ones grow and are jittered.
	pushWait = 20 * time.Millisecond
	// applicationsFolder holds the Applications of Argo CD. The name cannot be a workload's.
	applicationsFolder = "_applications"
	// hostWidth is how many deliveries of a process are at the repositories of one host, or wait there: two busy repositories
	// leave half of the workers that a process has by default for other work until it shows that the host does not answer.
	hostWidth = 2 * apply.LaneWidth
)

// Target commits to environments' deployment repositories.
type Target struct {
	Client *gitrepo.Client
	// Dir is where mirrors are kept; Data where relative folders for Secrets start from.
	Dir, Data string
	// Remote returns where a deployment repository is and with which credentials.
	Remote func(t *platform.GitOpsTarget) gitrepo.Remote

	// turns holds, by repository and branch, a channel with one place.
	turns sync.Map
	// hosts and branches lead to the turns.
	hosts, branches apply.Lanes
	// folders are where Secrets go.
	folders directory.Target
}

var _ apply.Target = (*Target)(nil)

// Deliver implements [apply.Target].
func (t *Target) Deliver(ctx context.Context, d apply.Delivery) (apply.Delivered, error) {
	settings := d.Environment.Target.GitOps
	public, secret, err := split(d, settings)
	if err != nil {
		return apply.Delivered{}, err
	}
	done, err := t.commit(ctx, d, public, secret)
	if err != nil || settings.Secrets == "" {
		return done, err
	}
	removed, err := t.secrets(ctx, d, settings, nil, append(paths(public), d.Remove...))
	if busy, ok := errors.AsType[*apply.Busy](err); ok {
		// It is no turn that it waits for: the repository has changed.
		err = fault.New(fault.TargetLocked, "the deployment repository has the release, and the Secrets that it has no use for stay: %w", busy)
	}
	if removed.Writes > 0 {
		done = plus(done, removed)
	}
	return done, err
}

// commit writes the Secrets, and all else into the repository, when it is the delivery's turn. Whoever has to come again for it
// has written nothing.
func (t *Target) commit(ctx context.Context, d apply.Delivery, public, secret []apply.File) (done apply.Delivered, err error) {
	settings := d.Environment.Target.GitOps
	remote := t.Remote(settings)
	sum := sha256.Sum256([]byte(settings.Repository))
	mirror, _, err := t.Client.OpenMirror(filepath.Join(t.Dir, hex.EncodeToString(sum[:8])), remote)
	if err != nil {
		return done, err
	}
	leave, err := t.turn(ctx, remote, settings, d.Superseded)
	if err != nil {
		return done, err
	}
	answer := apply.Unknown
	defer func() { leave(answer) }()
	if settings.Secrets != "" && len(secret) > 0 {
		// What refers to Secrets must not be deployed before them, nor lose them before it is gone itself.
		if done, err = t.secrets(ctx, d, settings, secret, nil); err != nil {
			return done, err
		}
	}
	public = slices.Clone(public)
	if settings.ArgoCD != nil && len(d.Write) > 0 {
		public = append(public, argo(d, d.Run.Name))
	}
	if settings.ArgoCD != nil && d.Shared != nil && *d.Shared {
		public = append(public, argo(d, apply.SharedFolder))
	}
	p := push{mirror: mirror, client: t.Client, remote: remote, settings: settings, delivery: d, public: public}
	p.delivery.Remove = append(paths(secret), d.Remove...)
	began := time.Now()
	committed, err := p.run(ctx)
	answer = learned(ctx, err, time.Since(began))
	return plus(done, committed), err
}

// turn waits until no other run of this process commits to the branch: each push makes what others have built outdated, so
// that runs which build at the same time mostly work for nothing. It does not wait for long, nor with many others: while a host
// does not answer, one run at a time finds out whether it does again, and the workers of all others are free.
func (t *Target) turn(ctx context.Context, remote gitrepo.Remote, settings *platform.GitOpsTarget, superseded <-chan struct{}) (leave func(apply.Outcome), err error) {
	what := "its turn at the deployment repository " + remote.String()
	host, err := t.hosts.Enter(hostOf(remote), what, hostWidth)
	if err != nil {
		return nil, err
	}
	branch := [2]string{settings.Repository, settings.Branch}
	line, err := t.branches.Enter(strings.Join(branch[:], " "), what, apply.LaneWidth)
	if err != nil {
		host.Leave(apply.Unknown)
		return nil, err
	}
	kept, _ := t.turns.LoadOrStore(branch, make(chan struct{}, 1))
	place := kept.(chan struct{})
	patience := time.NewTimer(apply.TurnWait)
	defer patience.Stop()
	select {
	case place <- struct{}{}:
		return func(o apply.Outcome) {
			<-place
			line.Leave(o)
			host.Leave(o)
		}, nil
	case <-patience.C:
		host.Leave(apply.Unknown)
		return nil, line.GiveUp()
	case <-superseded:
		err = queue.ErrSuperseded
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	line.Leave(apply.Unknown)
	host.Leave(apply.Unknown)
	return nil, err
}

// hostOf is what does not answer if one of its repositories does not.
func hostOf(remote gitrepo.Remote) string {
	u, err := url.Parse(remote.URL)
	if err != nil {
		return remote.String()
	}
	return u.Host
}

// learned is what the end of a turn says of the host. Who is refused at once holds nobody up.
func learned(ctx context.Context, err error, took time.Duration) apply.Outcome {
	f, ok := fault.As(err)
	switch {
	case ctx.Err() != nil:
		return apply.Unknown
	case ok && f.Code == fault.GitUnreachable && took >= apply.TurnWait:
		return apply.InVain
	default:
		return apply.Through
	}
}

// plus joins what two parts of a delivery did.
func plus(a, b apply.Delivered) apply.Delivered {
	return apply.Delivered{Writes: a.Writes + b.Writes, Detail: strings.TrimPrefix(a.Detail+"; "+b.Detail, "; ")}
}

// paths of files of the one kind are to be removed where the other kind goes: a file can come to hold secrets, or cease
// to.
func paths(files []apply.File) (list []string) {
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

// split separates what may be committed from what may not.
func split(d apply.Delivery, settings *platform.GitOpsTarget) (public, secret []apply.File, err error) {
	for _, f := range d.Write {
		switch {
		case !f.Secret:
			public = append(public, f)
		case settings.Secrets == "":
			return nil, nil, fault.New(fault.SecretInGit, "%s holds secret values, and environment %s commits to Git", f.Path, d.Environment.Name)
		default:
			secret = append(secret, f)
		}
	}
	return public, secret, nil
}

// secrets changes the environment's folder for Secrets.
func (t *Target) secrets(ctx context.Context, d apply.Delivery, settings *platform.GitOpsTarget, write []apply.File, remove []string) (apply.Delivered, error) {
	e := *d.Environment
	folder := settings.Secrets
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(t.Data, folder)
	}
	e.Target = platform.Target{Directory: &platform.DirectoryTarget{Path: folder}}
	d.Environment, d.Write, d.Remove = &e, write, remove
	done, err := t.folders.Deliver(ctx, d)
	done.Detail = "secrets: " + done.Detail
	return done, err
}

// push brings one delivery into the repository.
type push struct {
	mirror   *gitrepo.Mirror
	client   *gitrepo.Client
	remote   gitrepo.Remote
	settings *platform.GitOpsTarget
	delivery apply.Delivery
	public   []apply.File
}

// run builds the commit on the branch's newest one and pushes it; when somebody else was faster it starts again.
func (p *push) run(ctx context.Context) (done apply.Delivered, err error) {
	wait := backoff.NewExponentialBackOff(backoff.WithInitialInterval(pushWait), backoff.WithMaxInterval(time.Second))
	attempt := func() error {
		done, err = p.once(ctx)
		if errors.Is(err, gitrepo.ErrRejected) {
			p.delivery.Log("the branch moved; building the commit anew")
			return err
		}
		if err != nil {
			return backoff.Permanent(err)
		}
		return nil
	}
	err = p.delivery.Retry(ctx, backoff.WithMaxRetries(wait, pushAttempts), attempt)
	if errors.Is(err, gitrepo.ErrRejected) {
		return done, fault.New(fault.TargetRejected, "push to %s of %s: %w", p.settings.Branch, p.settings.Repository, err)
	}
	return done, err
}

func (p *push) once(ctx context.Context) (apply.Delivered, error) {
	ref := "refs/heads/" + p.settings.Branch
	refs, err := p.client.ListRefs(ctx, p.remote, ref)
	if err != nil {
		return apply.Delivered{}, err
	}
	head := refs.Commits[ref]
	changes, err := p.changes(ctx, head, ref)
	// A push of an earlier run that is still on its way names the commit that it was built on. It must not arrive after
	// this run found everything in order: so the branch moves even though there is nothing to write.
	move := p.delivery.Contested && head != ""
	if err != nil || len(changes) == 0 && !move {
		return apply.Delivered{Detail: "the repository is as it should be"}, err
	}
	meta := p.meta()
	meta.Empty = move
	commit, changed, err := p.mirror.Commit(ctx, head, changes, meta)
	if foreign, ok := fault.As(err); ok && foreign.Class() == fault.Permanent {
		err = fault.New(fault.TargetForeign, "%s: %w", p.settings.Repository, err)
	}
	if err != nil || !changed {
		return apply.Delivered{Detail: "the repository is as it should be"}, err
	}
	// Whoever was replaced while it fetched must not push: its successor may not have begun.
	if err := p.delivery.Alive(ctx); err != nil {
		return apply.Delivered{}, err
	}
	err = p.mirror.Push(ctx, commit, p.settings.Branch, head)
	if refused, ok := fault.As(err); ok && refused.Class() == fault.Refused && !errors.Is(err, gitrepo.ErrRejected) {
		// A protection of the branch can be lifted: the run goes on trying for as long as runs do.
		return apply.Delivered{}, fault.New(fault.TargetRejected, "%w", err)
	}
	if err != nil {
		return apply.Delivered{}, err
	}
	p.delivery.Log("pushed %s to %s of %s: %d files", commit, p.settings.Branch, p.settings.Repository, len(changes))
	return apply.Delivered{Writes: len(changes), Detail: fmt.Sprintf("commit %.12s, %d files", commit, len(changes))}, nil
}

// changes returns what differs between the branch's newest commit and what shall be there.
func (p *push) changes(ctx context.Context, head gitrepo.Hash, ref string) ([]gitrepo.Change, error) {
	read := func(string) ([]byte, bool, error) { return nil, false, nil }
	if head != "" {
		if err := p.mirror.Fetch(ctx, gitrepo.Want{Commit: head, Ref: ref}); err != nil {
			return nil, err
		}
		tree, err := p.mirror.Tree(ctx, head)
		if err != nil {
			return nil, err
		}
		read = tree.Read
	}
	var changes []gitrepo.Change
	for _, f := range p.public {
		full := path.Join(p.settings.Path, f.Path)
		have, found, err := p.ours(read, full)
		if err != nil {
			return nil, err
		}
		if !found || !f.Keep && !bytes.Equal(have, f.Content) {
			changes = append(changes, gitrepo.Change{Path: full, Content: f.Content})
		}
	}
	former, err := p.delivery.Former(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range p.gone(former) {
		full := path.Join(p.settings.Path, name)
		_, found, err := p.ours(read, full)
		if foreign, ok := fault.As(err); ok && foreign.Code == fault.TargetForeign {
			// What we put there is gone already, and what took its place is somebody else's.
			p.delivery.Log("left %s alone: %s", full, foreign.Message)
			continue
		}
		if err != nil {
			return nil, err
		}
		if found {
			changes = append(changes, gitrepo.Change{Path: full, Delete: true})
		}
	}
	return changes, nil
}

// ours reads a file that can only be ours; anything else at its place is a fault.
func (p *push) ours(read func(string) ([]byte, bool, error), full string) (content []byte, found bool, err error) {
	content, found, err = read(full)
	if foreign, ok := fault.As(err); ok && foreign.Class() == fault.Permanent {
		err = fault.New(fault.TargetForeign, "%s in %s: %w", full, p.settings.Repository, err)
	}
	return content, found, err
}

// gone are the paths to be removed.
func (p *push) gone(former []string) (list []string) {
	if p.settings.ArgoCD != nil {
		// Argo CD's Application goes first: it must not sync a folder that is half gone.
		names := former
		if len(p.delivery.Write) == 0 {
			names = append([]string{p.delivery.Run.Name}, names...)
		}
		for _, name := range names {
			if !slices.Contains(p.delivery.Stays, name) {
				list = append(list, applicationPath(name))
			}
		}
		if shared := p.delivery.Shared; shared != nil && !*shared {
			list = append(list, applicationPath(apply.SharedFolder))
		}
	}
	return append(list, p.delivery.Remove...)
}

// meta is the commit's message and authors. Its time is the release's, so that a repeated run makes the same commit.
func (p *push) meta() gitrepo.CommitMeta {
	r := p.delivery.Run
	verb := map[apply.Kind]string{apply.Deploy: "Deploy", apply.Rollback: "Roll back", apply.Remove: "Remove"}[r.Kind]
	us := gitrepo.Person{Name: "reconciler", Email: "reconciler@localhost"}
	message := fmt.Sprintf("%s %s in %s, generation %d\n\nApplication: %s\nEnvironment: %s\nGeneration: %d\nSource: %s@%s\nPlan: %s\n",
		verb, r.Name, r.Environment, r.Generation, r.Name, r.Environment, r.Generation, r.Repository, r.Commit, r.Plan)
	return gitrepo.CommitMeta{Author: us, Committer: us, Message: message, When: r.CreatedAt}
}

func applicationPath(name string) string { return applicationsFolder + "/" + name + ".yaml" }

// argo is the Application by which Argo CD deploys a folder: that of the application, or of what several share. What it
// deployed goes with it.
func argo(d apply.Delivery, folder string) apply.File {
	settings := d.Environment.Target.GitOps
	a := settings.ArgoCD
	name, labels := d.Environment.Name+"-"+folder, map[string]any{"app.kubernetes.io/managed-by": "reconciler"}
	if folder == apply.SharedFolder {
		name = d.Environment.Name + ".shared" // the dot keeps it from being an application's
	} else {
		labels["reconciler.dev/application"] = folder
	}
	text, err := yaml.Marshal(map[string]any{
		"apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
		"metadata": map[string]any{
			"name": name, "namespace": a.Namespace, "labels": labels, "finalizers": []any{"resources-finalizer.argocd.argoproj.io"},
		},
		"spec": map[string]any{
			"project": a.Project,
			"source": map[string]any{
				"repoURL": a.Repository, "targetRevision": settings.Branch, "path": path.Join(settings.Path, folder),
			},
			"destination": map[string]any{"server": a.Server, "namespace": d.Environment.Namespace},
			"syncPolicy":  map[string]any{"automated": map[string]any{"prune": true, "selfHeal": true}},
		},
	})
	if err != nil {
		panic(err) // maps of strings always marshal
	}
	return apply.File{Path: applicationPath(folder), Content: text}
}
