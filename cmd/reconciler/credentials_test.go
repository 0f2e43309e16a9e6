package main

import (
	"context"
	"testing"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/platform"
)

func oneForge() *config {
	return &config{Forges: map[string]forgeConfig{
		"gitea": {Kind: "gitea", URL: "https://git.example/sub", Username: "bot", Token: secretConfig{value: "t0ken"}},
		"open":  {Kind: "git"},
	}}
}

func TestCredentialsGoToTheForgeAlone(t *testing.T) {
	t.Parallel()
	for address, sent := range map[string]bool{
		"https://git.example/a/b.git": true, "https://git.example:443/a": true, "https://GIT.example/a": true, "https://me@git.example/a": true,
		"http://git.example/a": false, "https://git.example:8443/a": false, "https://evil.example/a": false, "https://git.example.evil.example/a": false,
		"https://git.example@evil.example/a": false, "https://git.example:443@evil.example": false, "ssh://git.example/a": false, "/etc": false,
		"https://evil.example/https://git.example/": false, "": false, "https:///a": false,
	} {
		remote := oneForge().remote(address, "gitea")
		if got := remote.Auth != (gitrepo.Auth{}); got != sent {
			t.Errorf("%q: sent: %v", address, got)
		}
		f, refused := fault.As(oneForge().onForge("gitea", address))
		if refused == sent || refused && f.Code != fault.ForgeForeign {
			t.Errorf("%q: %v", address, f)
		}
	}
	for _, name := range []string{"", "open"} {
		if err := oneForge().onForge(name, "https://anywhere.example/a"); err != nil || oneForge().remote("https://anywhere.example/a", name).Auth != (gitrepo.Auth{}) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if f, _ := fault.As(oneForge().onForge("gitae", "https://git.example/a")); f == nil || f.Code != fault.ForgeUnknown || f.Suggestion != "gitea" {
		t.Errorf("an unknown forge gives %v", f)
	}
}

// delivered counts what reaches a target.
type delivered struct{ n int }

func (d *delivered) Deliver(context.Context, apply.Delivery) (apply.Delivered, error) {
	d.n++
	return apply.Delivered{}, nil
}

func TestNothingIsAskedOfAHostThatIsNotTheForges(t *testing.T) {
	t.Parallel()
	var target delivered
	deliver := func(repository string) error {
		e := &platform.Environment{}
		e.Target.GitOps = &platform.GitOpsTarget{Repository: repository, Forge: "gitea"}
		_, err := forgeTarget{&target, oneForge()}.Deliver(t.Context(), apply.Delivery{Environment: e})
		return err
	}
	if f, ok := fault.As(deliver("https://evil.example/deploy")); !ok || f.Code != fault.ForgeForeign || target.n != 0 {
		t.Errorf("%v, %d deliveries", f, target.n)
	}
	if err := deliver("https://git.example/deploy"); err != nil || target.n != 1 {
		t.Errorf("%v, %d deliveries", err, target.n)
	}
	// A source without a client: any question would crash.
	source, foreign := reconcileSource{&gitwatch.Source{}, oneForge()}, gitwatch.Repository{Name: "a/b", URL: "https://evil.example/a", Forge: "gitea"}
	_, listed := source.ListRefs(t.Context(), foreign, nil)
	_, read := source.Tree(t.Context(), foreign, "main", "")
	_, _, merged := source.Merge(t.Context(), foreign, gitwatch.Pull{})
	for _, err := range []error{listed, read, merged} {
		if f, ok := fault.As(err); !ok || f.Code != fault.ForgeForeign {
			t.Errorf("%v", err)
		}
	}
}
