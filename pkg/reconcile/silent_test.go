package reconcile

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/apply/gitops"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/platform"
)

// fleet are as many applications as one commit brings, several times those that there are workers for.
func fleet(image, more string) map[string]string {
	files := map[string]string{}
	for i := range 16 {
		name := fmt.Sprintf("app%d", i)
		files[name+"/score.yaml"] = file(name, image, more)
	}
	return files
}

// A deployment host takes connections and never answers, and more runs are due there than there are workers: what goes elsewhere
// is looked at, planned and delivered within seconds. When the host answers again, all get there.
func TestASilentDeploymentHostHoldsUpNothingElse(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{"own objects": "", "shared objects": "resources: {db: {type: postgres, id: main}}\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			deploy := w.server.CreateRepo(t, "deploy")
			at, err := url.Parse(deploy.URL)
			if err != nil {
				t.Fatal(err)
			}
			proxy := testenv.NewToxicProxy(t, at.Host)
			target := w.Runner.GitOps.(*gitops.Target)
			target.Client = gitrepo.NewClient(gitrepo.ClientConfig{Timeout: 2 * apply.TurnWait})
			t.Cleanup(target.Client.Close)
			w.offer(platform.Files{
				"environments/production.yaml": "target: {gitops: {repository: " + strings.Replace(deploy.URL, at.Host, proxy.Address, 1) + ", secrets: secrets}}\n",
				"environments/staging.yaml":    production,
			})
			other := w.server.CreateRepo(t, "other")
			w.tx(func(tx pgx.Tx) error {
				return w.watcher.Put(t.Context(), tx, gitwatch.Repository{
					Name: "shop/other", URL: other.URL, Forge: "fake", Branches: map[string][]string{"main": {"staging"}}, Paths: DefaultPaths, PollSeconds: 3600, Origin: gitwatch.API,
				})
			})
			if err := proxy.Swallow(); err != nil {
				t.Fatal(err)
			}
			files := fleet("image:1", more)
			w.send(files)
			w.until("deliveries to wait", func() bool {
				return w.rows("SELECT (count(*) >= 4)::text FROM steps WHERE name = 'deliver' AND state IN ('running', 'parked')") == "true"
			})
			for i := range 3 {
				began, image := time.Now(), fmt.Sprintf("fix:%d", i)
				other.Commit("main", map[string]string{"till/score.yaml": file("till", image)})
				w.hint("shop/other")
				w.until("the fix", func() bool { return w.deployed("till") == image })
				if took := time.Since(began); took > 5*apply.TurnWait {
					t.Errorf("the fix took %s", took)
				}
			}
			why := w.rows("SELECT DISTINCT detail FROM steps WHERE name = 'deliver' AND state = 'parked' AND fault IS NULL")
			if !strings.Contains(why, "waits for its turn at ") {
				t.Errorf("people read %q", why)
			}
			if err := proxy.Mend(); err != nil {
				t.Fatal(err)
			}
			w.quiet()
			w.equal(fmt.Sprint(len(files)), w.rows("SELECT count(*)::text FROM runs WHERE environment = 'production' AND state = 'succeeded'"))
			w.equal("", w.rows("SELECT f->>'error' FROM steps, jsonb_array_elements(failures) f WHERE f->>'code' <> 'ORC-2001'"))
			if n := strings.Count(deploy.Run("ls-tree", "-r", "--name-only", "main"), ".deployment.apps.yaml"); n != len(files) {
				t.Errorf("%d applications are there", n)
			}
		})
	}
}

// Many that deliver to one repository get there without a failed attempt, whether or not some were put off.
func TestManyTakeTurnsAtOneRepository(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deploy := w.server.CreateRepo(t, "deploy")
	w.offer(platform.Files{"environments/production.yaml": "target: {gitops: {repository: " + deploy.URL + ", secrets: secrets}}\n"})
	for range 3 { // as if one process had as many workers
		w.newReplica(w.Pool).Runner.GitOps = w.Runner.GitOps
	}
	for i := range 3 {
		began, files := time.Now(), fleet(fmt.Sprintf("image:%d", i), "")
		w.push(files)
		t.Logf("%d deliveries took %s", len(files), time.Since(began))
		w.equal(fmt.Sprint((i+1)*len(files)), w.rows("SELECT count(*)::text FROM runs WHERE state = 'succeeded'"))
		w.equal(fmt.Sprint((i+1)*len(files)), deploy.Run("rev-list", "--count", "main"))
	}
	w.equal("true", w.rows("SELECT (count(*) > 0)::text FROM steps WHERE asked_at IS NOT NULL"))
	w.equal("1", w.rows("SELECT DISTINCT attempt::text FROM steps"))
	w.equal("0", w.rows("SELECT coalesce(sum(jsonb_array_length(failures)), 0)::text FROM steps"))
}
