package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
)

const commit = "0123456789abcdef0123456789abcdef01234567"

// told is a server that knows one commit with a file that is broken and of which no application is known.
func told(t *testing.T) string {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	broken := fault.New(fault.ScoreUnknownKey, `containers.main has the unknown key "imgae"`).At(fault.Place{File: "b/score.yaml", Line: 1, Column: 3}).
		Show([]byte("  imgae: x")).Suggest("image")
	return answer(t, map[string]func(*http.Request) any{
		"/repositories": func(*http.Request) any {
			return []server.Repository{{Name: "shop/app", Branches: map[string][]string{"main": {"production"}}, InvalidFiles: 1}}
		},
		"/revisions/shop/app": func(r *http.Request) any {
			return []reconcile.Summary{{Repository: "shop/app", Commit: commit, Environment: "production", Ref: "main", Applications: 2, Invalid: 1, CreatedAt: at}}
		},
		"/revisions/shop/app/" + commit: func(*http.Request) any {
			return []reconcile.Revision{{Repository: "shop/app", Commit: commit, Environment: "production", Ref: "main", Outcomes: []status.Outcome{
				{Application: "shop", Path: "a/score.yaml", State: "succeeded", Generation: 3, Plan: &planner.Plan{}},
				{Application: "b/score.yaml", Path: "b/score.yaml", Faults: fault.List{broken}},
			}}}
		},
		"/revisions/shop/app/fffffff": func(*http.Request) any { return []reconcile.Revision{} },
	})
}

func TestRevisionsTellOfFilesThatNoApplicationIsKnownOf(t *testing.T) {
	t.Parallel()
	url := told(t)
	for args, want := range map[string]string{
		"repositories": "REPOSITORY  FORGE  BRANCHES         LOOKED AT  PROBLEM\nshop/app    -      main→production  -          1 invalid file\n",
		"revisions shop/app": `COMMIT        REF   ENVIRONMENT  APPLICATIONS  INVALID FILES  WHEN
0123456789ab  main  production   2             1              2026-01-02 03:04:05
`,
		"revisions shop/app 0123456789ab": `shop/app at 0123456789ab, main → production
APPLICATION   SCORE FILE    OUTCOME
shop          a/score.yaml  succeeded, generation 3
b/score.yaml  b/score.yaml  invalid

b/score.yaml:1:3: error: containers.main has the unknown key "imgae" [ORC-1012]
  1 |   imgae: x
    |   ^
  did you mean image?
  ` + fault.ScoreUnknownKey.Entry().Remedy + `
  ` + fault.ScoreUnknownKey.Link() + `
`,
	} {
		got, err := output(t.Context(), t, url, strings.Fields(args)...)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", args, err, diff)
		}
	}
	got, err := output(t.Context(), t, url, "revisions", "shop/app", commit, "-o", "json")
	if err != nil || !strings.Contains(got, `"code": "ORC-1012"`) {
		t.Errorf("%v %s", err, got)
	}
	_, err = output(t.Context(), t, url, "revisions", "shop/app", "fffffff")
	if f, ok := fault.As(err); !ok || f.Code != fault.RevisionUnknown {
		t.Errorf("an unknown commit gives %v", err)
	}
	for _, args := range []string{"revisions", "revisions app", "revisions shop/app ../x", "revisions shop/app abc", "revisions ../../runs"} {
		_, err := output(t.Context(), t, url, strings.Fields(args)...)
		if f, ok := fault.As(err); !ok || f.Code != fault.UsageInvalid {
			t.Errorf("%s gives %v", args, err)
		}
	}
}
