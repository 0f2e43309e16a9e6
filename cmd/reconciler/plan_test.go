package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
)

func TestAPlanSaysThatTheRepositoryIsNotWatchedAndCountsWhatIsInvalidOnce(t *testing.T) {
	t.Parallel()
	url := answer(t, map[string]func(*http.Request) any{
		"/repositories": func(*http.Request) any { return []server.Repository{{Name: "shop/app"}} },
		"/plan": func(*http.Request) any {
			return []status.Outcome{
				{Application: "broken", Faults: fault.List{fault.New(fault.ScoreName, "bad")}},
				{Application: "new", Plan: &planner.Plan{Digest: "d", Changes: []planner.Change{{}}}},
				{Application: "warned", Plan: &planner.Plan{Digest: "d", BaseDigest: "d"}, Faults: fault.List{fault.New(fault.RenderProbe, "one").Warn()}},
			}
		},
	})
	for repository, hint := range map[string]string{
		"shop/app": "", "shop/ap": "repository shop/ap is not watched: it is planned as a new one; did you mean shop/app?\n", "x/y": "repository x/y is not watched: it is planned as a new one\n",
	} {
		got, err := output(t.Context(), t, url, "plan", "--repository", repository, "-e", "production", t.TempDir())
		if code, _ := exitCode(err); code != exitFailed {
			t.Errorf("%s: %v", repository, err)
		}
		if !strings.HasPrefix(got, hint) || strings.Contains(got, "not watched") != (hint != "") || !strings.HasSuffix(got, "1 of 3 applications change, 1 invalid\n") {
			t.Errorf("%s: %s", repository, got)
		}
	}
}
