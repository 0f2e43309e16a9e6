package reconcile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
)

const port = "service: {ports: {web: {port: 80}}}\n"

// takesService is a workload whose Service has the name of another workload's.
func takesService(name, service string) string {
	return strings.Replace(file(name, "x:1", port), "{name: "+name+"}", "{name: "+name+", annotations: {k8s.score.dev/service-name: "+service+"}}", 1)
}

func TestObjectOfAnotherApplicationIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:1", port)})
	commit := w.push(map[string]string{"0/score.yaml": takesService("thief", "alpha")})
	w.equal("alpha a/score.yaml 1/1", w.apps())
	if s := w.said(commit); !strings.Contains(s, "0/score.yaml:2:18: Service alpha belongs to application alpha") {
		t.Error(s)
	}
}

func TestOfTwoNewApplicationsWithOneObjectTheFirstGetsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	with := func(name, container string) string {
		return "apiVersion: score.dev/v1b1\nmetadata: {name: " + name + "}\ncontainers: {" + container + ": {image: a, files: {/etc/x: {content: " + name + "}}}}\n"
	}
	commit := w.push(map[string]string{"a/score.yaml": with("kk", "bb-cc"), "b/score.yaml": with("kk-bb", "cc")})
	w.equal("kk a/score.yaml 1/1", w.apps())
	if s := w.said(commit); !strings.Contains(s, "ConfigMap kk-bb-cc-files belongs to application kk") {
		t.Error(s)
	}
}

// An object changes hands in one commit: whoever gets it waits until it is given up.
func TestObjectThatIsGivenUpIsFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": takesService("alpha", "front"), "b/score.yaml": file("beta", "b:1")})
	w.push(map[string]string{"a/score.yaml": file("alpha", "x:1", port), "b/score.yaml": takesService("beta", "front")})
	w.equal("alpha a/score.yaml 2/2\nbeta b/score.yaml 2/2", w.apps())
}

func TestReplacingEverythingWaitsForAPerson(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:1"), "b/score.yaml": file("beta", "b:1")})
	w.push(map[string]string{"a/score.yaml": "", "b/score.yaml": "", "c/score.yaml": file("gamma", "c:1")})
	w.equal("alpha a/score.yaml 1/1 waiting\nbeta b/score.yaml 1/1 waiting\ngamma c/score.yaml 1/1", w.apps())
	if f := w.app("alpha").WaitingFor; f.Code != fault.DeletesAll {
		t.Errorf("it waits for %v", f)
	}
	// What the repository has by now, another look and another commit change nothing about it.
	w.again()
	w.push(map[string]string{"c/score.yaml": file("gamma", "c:2")})
	w.equal("alpha a/score.yaml 1/1 waiting\nbeta b/score.yaml 1/1 waiting\ngamma c/score.yaml 2/2", w.apps())
	w.push(map[string]string{"b/score.yaml": file("beta", "b:2")})
	w.equal("alpha a/score.yaml 1/1 waiting\nbeta b/score.yaml 2/2\ngamma c/score.yaml 2/2", w.apps())
	if err := w.Confirm(t.Context(), w.app("alpha").Waiting, "dana"); err != nil {
		t.Fatal(err)
	}
	w.quiet()
	w.equal("beta b/score.yaml 2/2\ngamma c/score.yaml 2/2", w.apps())
}

// A name that was refused is given as soon as it is free.
func TestFreedNameIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": file("alpha", "a:1"), "b/score.yaml": file("beta", "b:1")})
	other := w.server.CreateRepo(t, "other")
	w.forge.AddRepository("shop/other")
	other.Commit("main", map[string]string{"x/score.yaml": file("alpha", "x:1"), "y/score.yaml": file("beta", "y:1")})
	w.watch("shop/other", other)
	w.quiet()
	w.equal("alpha a/score.yaml 1/1\nbeta b/score.yaml 1/1", w.apps())
	w.push(map[string]string{"a/score.yaml": ""})
	w.equal("alpha x/score.yaml 1/1\nbeta b/score.yaml 1/1", w.apps())
	w.push(map[string]string{"b/score.yaml": file("renamed", "b:1")})
	w.equal("alpha x/score.yaml 1/1\nbeta y/score.yaml 1/1\nrenamed b/score.yaml 2/2", w.apps())
}

// sharing is a platform with a resource whose object tells its param.
func (w *world) sharing() {
	w.offer(platform.Files{"environments/production.yaml": production, "settings.provisioners.yaml": `
- uri: template://test/settings
  type: settings
  supported_params: [v]
  outputs: |
    v: {{ dig "v" "none" .Params }}
  manifests: |
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: settings}, data: {v: {{ dig "v" "none" .Params }} }}
`})
}

func settings(name, params string) string {
	return strings.Replace(file(name, "a:1"), "}}", `, variables: {V: "${resources.cfg.v}"}}}`, 1) + "resources: {cfg: {type: settings, id: all" + params + "}}\n"
}

// shared returns what stands in the shared object.
func (w *world) shared() string {
	text, _ := os.ReadFile(filepath.Join(w.data, "out", "_shared", "settings.configmap.yaml"))
	_, after, _ := strings.Cut(string(text), "  v: ")
	v, _, _ := strings.Cut(after, "\n")
	return v
}

// seen returns the value of the variable V of a workload.
func (w *world) seen(name string) string {
	text, _ := os.ReadFile(filepath.Join(w.data, "out", name, name+".deployment.apps.yaml"))
	_, after, _ := strings.Cut(string(text), "- name: V\n")
	_, after, _ = strings.Cut(after, "value: ")
	v, _, _ := strings.Cut(after, "\n")
	return v
}

// values returns what stands in the shared object, and what workloads see of it.
func (w *world) values(workloads ...string) string {
	all := []string{w.shared()}
	for _, name := range workloads {
		all = append(all, w.seen(name))
	}
	return strings.Join(all, " ")
}

// back rolls an application back to a generation, 0 for the last good one.
func (w *world) back(name string, generation int64) {
	w.Helper()
	if _, err := w.Rollback(w.Context(), "production", name, generation, "", "dana"); err != nil {
		w.Fatal(err)
	}
	w.quiet()
}

// resume lifts a hold.
func (w *world) resume(name string) {
	w.Helper()
	if err := w.Resume(w.Context(), "production", name); err != nil {
		w.Fatal(err)
	}
	w.quiet()
}

func TestSharedResourceIsWhatItsDescriberSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing()
	check := func(want string) {
		t.Helper()
		w.equal(want, w.values("alpha", "beta"))
	}
	// Beta gives the params, and alpha comes first by path.
	w.push(map[string]string{"a/score.yaml": settings("alpha", ""), "b/score.yaml": settings("beta", ", params: {v: one}")})
	check("one one one")
	w.push(map[string]string{"b/score.yaml": settings("beta", ", params: {v: two}")})
	check("two two two")
	// Alpha's earlier release saw the value of its time; the object is beta's.
	w.back("alpha", 0)
	check("two one two")
	w.resume("alpha")
	check("two two two")
	// Who describes it changes hands in one commit.
	w.push(map[string]string{"a/score.yaml": settings("alpha", ", params: {v: three}"), "b/score.yaml": settings("beta", "")})
	check("three three three")
	w.push(map[string]string{"a/score.yaml": "", "b/score.yaml": settings("beta", ", params: {v: four}")})
	w.equal("four  four", w.values("alpha", "beta"))
}

// A rollback of who described a shared resource once takes nothing from who describes it now.
func TestRollbackOfAFormerDescriberTakesNothingOver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing()
	w.push(map[string]string{"a/score.yaml": settings("alpha", ", params: {v: one}"), "b/score.yaml": settings("beta", "")})
	w.push(map[string]string{"a/score.yaml": settings("alpha", ""), "b/score.yaml": settings("beta", ", params: {v: two}")})
	w.equal("two two two", w.values("alpha", "beta"))
	w.back("alpha", 1)
	w.equal("two one two", w.values("alpha", "beta"))
	w.resume("alpha")
	w.equal("two two two", w.values("alpha", "beta"))
}

// What is held back is not what the others find.
func TestHeldDescriberChangesNothingForOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing()
	w.push(map[string]string{"a/score.yaml": settings("alpha", ", params: {v: one}"), "b/score.yaml": settings("beta", "")})
	if err := w.Hold(t.Context(), "production", "alpha", "a holiday", "dana"); err != nil {
		t.Fatal(err)
	}
	w.push(map[string]string{"a/score.yaml": settings("alpha", ", params: {v: two}")})
	w.equal("one one one", w.values("alpha", "beta"))
	w.resume("alpha")
	w.equal("two two two", w.values("alpha", "beta"))
}

// A workload that gets another name goes on describing what it described.
func TestRenamedDescriberChangesItsParams(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing()
	w.push(map[string]string{"a/score.yaml": settings("alpha", ", params: {v: one}"), "b/score.yaml": settings("beta", "")})
	w.push(map[string]string{"a/score.yaml": settings("omega", ", params: {v: two}")})
	w.equal("two two two", w.values("omega", "beta"))
	w.push(map[string]string{"a/score.yaml": settings("omega", ", params: {v: three}")})
	w.equal("three three three", w.values("omega", "beta"))
}

// Who describes a shared resource goes: those who stay are looked at, whatever repository they are in.
func TestSharersAreLookedAtWhenTheirDescriberGoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing()
	w.push(map[string]string{"a/score.yaml": settings("alpha", ", params: {v: one}"), "z/score.yaml": file("zeta", "z:1")})
	other := w.server.CreateRepo(t, "other")
	w.forge.AddRepository("shop/other")
	other.Commit("main", map[string]string{"score.yaml": settings("beta", "")})
	w.watch("shop/other", other)
	w.quiet()
	w.push(map[string]string{"a/score.yaml": ""})
	w.equal("none  none", w.values("alpha", "beta"))
	w.equal("beta score.yaml 2/2\nzeta z/score.yaml 1/1", w.apps())
}

func TestSharedResourceOfAnotherRepositoryIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.sharing()
	w.push(map[string]string{"score.yaml": settings("alpha", ", params: {v: one}")})
	other := w.server.CreateRepo(t, "other")
	w.forge.AddRepository("shop/other")
	other.Commit("main", map[string]string{"score.yaml": settings("beta", "")})
	w.watch("shop/other", other)
	w.quiet()
	w.equal("one one one", w.values("alpha", "beta"))
	w.push(map[string]string{"score.yaml": settings("alpha", ", params: {v: two}")})
	w.equal("two two two", w.values("alpha", "beta"))
}

// Two that would wait for each other's objects are refused while planning, and go on as they are.
func TestApplicationsDoNotChangeObjectsInOneCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.push(map[string]string{"a/score.yaml": takesService("alpha", "one"), "b/score.yaml": takesService("beta", "two")})
	commit := w.push(map[string]string{"a/score.yaml": takesService("alpha", "two"), "b/score.yaml": takesService("beta", "one")})
	w.equal("alpha a/score.yaml 1/1 faulty\nbeta b/score.yaml 1/1 faulty", w.apps())
	if s := w.said(commit); !strings.HasPrefix(s, "failure: 2 invalid") {
		t.Error(s)
	}
}
