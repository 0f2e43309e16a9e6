package reconcile

import (
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
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
