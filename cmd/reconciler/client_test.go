package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/server"
)

// answer makes a server that gives a value for each path below /api/v1.
func answer(t *testing.T, paths map[string]func(*http.Request) any) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			return // every server of ours is ready
		}
		value, ok := paths[strings.TrimPrefix(r.URL.Path, "/api/v1")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if err := json.NewEncoder(w).Encode(value(r)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// output runs a command line against a server and returns what it prints.
func output(ctx context.Context, t *testing.T, url string, args ...string) (string, error) {
	t.Helper()
	var out strings.Builder
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(append(args, "--server", url))
	err := root.ExecuteContext(ctx)
	return out.String(), err
}

// ticking is a run that writes a line each time it is looked at, two at the end, and ends at the third look.
func ticking(t *testing.T) string {
	var looks atomic.Int64
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return answer(t, map[string]func(*http.Request) any{
		"/runs/7": func(*http.Request) any {
			state := apply.Running
			if looks.Add(1) >= 3 {
				state = apply.Succeeded
			}
			return server.Run{Run: apply.Run{ID: 7, State: state}}
		},
		"/runs/7/logs": func(r *http.Request) any {
			after, err := strconv.ParseInt("0"+r.URL.Query().Get("after"), 10, 64)
			if err != nil {
				t.Error(err)
			}
			last := looks.Load() * 10
			if last == 30 {
				last = 40
			}
			if after += 10; after > last {
				return []apply.LogLine{}
			}
			return []apply.LogLine{{ID: after, Step: "apply", At: at, Message: "line " + strconv.FormatInt(after, 10)}}
		},
	})
}

func TestLogsFollowARunToItsLastLine(t *testing.T) {
	t.Parallel()
	got, err := output(t.Context(), t, ticking(t), "logs", "7", "-f")
	if err != nil {
		t.Fatal(err)
	}
	want := "03:04:05 apply: line 10\n03:04:05 apply: line 20\n03:04:05 apply: line 30\n03:04:05 apply: line 40\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLogsWithoutFollowEndAtOnce(t *testing.T) {
	t.Parallel()
	got, err := output(t.Context(), t, ticking(t), "logs", "7")
	if err != nil || got != "03:04:05 apply: line 10\n" {
		t.Errorf("%v: %q", err, got)
	}
}

func TestFollowingLogsEndsWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := answer(t, map[string]func(*http.Request) any{
		"/runs/7": func(*http.Request) any { return server.Run{Run: apply.Run{ID: 7, State: apply.Running}} },
		"/runs/7/logs": func(*http.Request) any {
			cancel()
			return []apply.LogLine{}
		},
	})
	_, err := output(ctx, t, url, "logs", "7", "-f")
	if code, faults := exitCode(err); code != exitInterrupted || len(faults) > 0 {
		t.Errorf("exit code %d, %v", code, faults)
	}
}

func TestTextOfOthersNeitherDrivesTheTerminalNorAddsLines(t *testing.T) {
	t.Parallel()
	const evil = "a\x1b[31mb\u202ec\nd\u009be\tf"
	field := planner.Field{Path: evil, Action: planner.Update, Before: evil, After: evil, BeforeAt: fault.Place{File: evil, Line: 1}, AfterAt: fault.Place{File: evil, Line: 2}}
	plan := &planner.Plan{
		ID: evil, Application: evil, Environment: evil,
		Changes: []planner.Change{{Action: planner.Create, Part: evil, Detail: evil, At: fault.Place{File: evil, Line: 1}}, {Action: planner.Update, Part: evil, Fields: []planner.Field{field}}},
		Objects: []planner.ObjectChange{{Action: planner.Update, Kind: evil, Namespace: evil, Name: evil, Fields: []planner.Field{field}}},
	}
	url := answer(t, map[string]func(*http.Request) any{
		"/plans/1": func(*http.Request) any {
			return server.Plan{ID: evil, Application: evil, Environment: evil, Plan: plan}
		},
		"/applications": func(*http.Request) any {
			return []server.Application{{Environment: evil}}
		},
		"/applications/p/a": func(*http.Request) any { return map[string]any{"name": evil, "environment": evil, "state": "deployed"} },
		"/runs/7": func(*http.Request) any {
			return server.Run{Run: apply.Run{ID: 7, State: apply.Failed, Fault: fault.New(fault.Internal, "%s", evil)}, Steps: []apply.Step{{Name: evil, Detail: evil}}}
		},
		"/runs/7/logs": func(r *http.Request) any {
			if r.URL.Query().Get("after") != "0" {
				return []apply.LogLine{}
			}
			return []apply.LogLine{{ID: 1, Step: evil, Message: evil}}
		},
		"/status": func(*http.Request) any { return map[string]string{"Version": evil} },
	})
	for _, c := range []struct {
		args  string
		lines int
	}{
		{"plans show 1", 6}, {"apps", 2}, {"watch a -e p", 1}, {"runs show 7", 5}, {"logs 7", 1}, {"version --remote", 2},
	} {
		got, err := output(t.Context(), t, url, strings.Fields(c.args)...)
		if err != nil {
			t.Errorf("%s: %v", c.args, err)
		}
		if strings.ContainsAny(got, "\x1b\u202e\u009b") || strings.Count(got, "\n") != c.lines {
			t.Errorf("%s: %q", c.args, got)
		}
	}
}
