package reconcile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/platform"
)

// Three replicas on one database share the work of many pushes: each application ends at its newest commit, no two runs of
// one overlap, and each run that wrote is one commit of the deployment repository.
func TestReplicasShareTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deploy := w.server.CreateRepo(t, "deploy")
	replicas := []replica{w.replica, w.newReplica(w.Pool), w.newReplica(w.Pool)}
	w.offer(platform.Files{"environments/production.yaml": "target: {gitops: {repository: " + deploy.URL + ", secrets: secrets}}\n"})
	// The witness sees each change of a run's state in the transaction that makes it.
	if _, err := w.Pool.Exec(t.Context(), `CREATE TABLE witness (seq bigserial, application bigint, run bigint, token bigint, state text)`); err != nil {
		t.Fatal(err)
	}
	for _, r := range replicas {
		r.Runner.Changed = func(ctx context.Context, tx pgx.Tx, runs ...apply.Run) error {
			for _, run := range runs {
				if _, err := tx.Exec(ctx, "INSERT INTO witness (application, run, token, state) VALUES ($1, $2, $3, $4)", run.Application, run.ID, run.Token, run.State); err != nil {
					return err
				}
			}
			return r.RunChanged(ctx, tx, runs...)
		}
	}
	const pushes, applications, seed = 30, 5, 11
	random := rand.New(rand.NewPCG(seed, seed))
	want := map[string]string{}
	for i := range pushes {
		name := fmt.Sprintf("app%d", random.IntN(applications))
		want[name] = fmt.Sprintf("image:%d", i)
		w.repo.Commit("main", map[string]string{name + "/score.yaml": file(name, want[name])})
		watcher := replicas[i%len(replicas)].watcher
		w.tx(func(tx pgx.Tx) error { return watcher.Hint(t.Context(), tx, ours) })
	}
	w.quiet()
	for name, image := range want {
		text := deploy.Run("show", "main:environments/production/"+name+"/"+name+".deployment.apps.yaml")
		if !strings.Contains(text, "image: "+image+"\n") {
			t.Errorf("%s is not at %s: %s", name, image, text)
		}
		if a := w.app(name); a.Applied != a.Generation || a.Hold != nil {
			t.Errorf("%s: applied %d of %d, hold %v", name, a.Applied, a.Generation, a.Hold)
		}
	}
	w.equal(fmt.Sprint(len(replicas)), w.rows("SELECT count(DISTINCT worker)::text FROM job_history"))
	active := map[string]string{}
	for _, line := range strings.Split(w.rows("SELECT application || ' ' || run || ' ' || state FROM witness ORDER BY seq"), "\n") {
		var application, run, state string
		if _, err := fmt.Sscan(line, &application, &run, &state); err != nil {
			t.Fatal(err)
		}
		switch other := active[application]; {
		case state == string(apply.Running) && other != "" && other != run:
			t.Errorf("run %s began while run %s of application %s was running", run, other, application)
		case state == string(apply.Running):
			active[application] = run
		case other == run:
			active[application] = ""
		}
	}
	wrote := w.rows("SELECT 'Deploy ' || name || ' in production, generation ' || generation FROM runs WHERE writes > 0 ORDER BY 1")
	commits := strings.Split(deploy.Run("log", "--format=%s", "main"), "\n")
	seen := map[string]int{}
	for _, c := range commits {
		seen[c]++
	}
	for _, line := range strings.Split(wrote, "\n") {
		if seen[line] != 1 {
			t.Errorf("%q is there %d times", line, seen[line])
		}
		delete(seen, line)
	}
	if len(seen) > 0 {
		t.Errorf("commits that no run counts: %v", seen)
	}
}

// Two runs of one commit end at the same time, each in a transaction that does not see the other: the status tells both.
func TestRunsThatEndTogetherAreBothTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.push(map[string]string{"one/score.yaml": file("one", "a:1"), "two/score.yaml": file("two", "b:1")})
	w.equal("success: 2 deployed", w.said(commit))
	if _, err := w.Pool.Exec(t.Context(), "UPDATE runs SET state = 'running'"); err != nil {
		t.Fatal(err)
	}
	w.tx(func(tx pgx.Tx) error { return w.refresh(t.Context(), tx, ours, commit) })
	w.equal("pending: 2 deploying", w.said(commit))
	end := func(tx pgx.Tx, name string) error {
		if _, err := tx.Exec(t.Context(), "UPDATE runs SET state = 'succeeded' WHERE name = $1", name); err != nil {
			return err
		}
		return w.refresh(t.Context(), tx, ours, commit)
	}
	second := make(chan error, 1)
	w.tx(func(tx pgx.Tx) error {
		if err := end(tx, "one"); err != nil {
			return err
		}
		go func() { second <- pgx.BeginFunc(t.Context(), w.Pool, func(tx pgx.Tx) error { return end(tx, "two") }) }()
		w.until("the second to wait for the first", func() bool {
			return w.rows("SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == "1"
		})
		return nil
	})
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	w.equal("success: 2 deployed", w.said(commit))
}

// A commit that finds the run of an earlier one under way tells when that has ended.
func TestEndOfARunIsToldByEveryCommitThatTellsOfIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.push(map[string]string{"one/score.yaml": file("one", "a:1")})
	for _, sql := range []string{"UPDATE runs SET state = 'running'", "UPDATE applications SET applied = 0"} {
		if _, err := w.Pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	second := w.push(map[string]string{"two/score.yaml": file("two", "b:1")})
	w.equal("pending: 1 deploying, 1 deployed", w.said(second))
	w.tx(func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "UPDATE runs SET state = 'succeeded'"); err != nil {
			return err
		}
		list, err := w.Runs.Runs(t.Context(), tx, apply.RunFilter{Name: "one"}, 1)
		if err != nil {
			return err
		}
		return w.RunChanged(t.Context(), tx, list[0])
	})
	w.equal("success: 1 deployed", w.said(first))
	w.equal("success: 2 deployed", w.said(second))
}
