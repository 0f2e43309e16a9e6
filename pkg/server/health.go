package server

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Check is the answer of one dependency.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Problem is why not, with its code.
	Problem string `json:"problem,omitempty"`
}

// Backlog is what readiness tells of a kind of jobs: everybody may read it. It never makes us unready, for another
// replica would not do better.
type Backlog struct {
	Kind string `json:"kind"`
	// Waiting jobs are ready or blocked.
	Waiting       int64   `json:"waiting"`
	Running       int64   `json:"running"`
	OldestSeconds float64 `json:"oldestSeconds"`
	Paused        bool    `json:"paused"`
}

// ready answers 200 if everything that is needed answers, else 503; the body tells each dependency and the backlog.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	checks := s.checks(r.Context())
	status := http.StatusOK
	for _, c := range checks {
		if !c.OK {
			status = http.StatusServiceUnavailable
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body := map[string]any{"ready": status == http.StatusOK, "checks": checks}
	if status == http.StatusOK {
		body["queue"] = s.backlog(r.Context())
	}
	_ = json.NewEncoder(w).Encode(body) // the client is gone if it fails
}

const (
	// backlogAge is how long a backlog is told again, or that it is not known: to count it reads all jobs that wait, and
	// everybody may ask as often as they like.
	backlogAge = 5 * time.Second
	// backlogTimeout bounds the counting: probes wait for a second.
	backlogTimeout = 500 * time.Millisecond
)

// backlogs is the backlog that was told last.
type backlogs struct {
	// counting is for at: who counts holds it, and the others tell what there is.
	counting sync.Mutex
	// at is when it was counted last, or could not be.
	at   time.Time
	list atomic.Pointer[[]Backlog]
}

// backlog returns nil if it is not known.
func (s *Server) backlog(ctx context.Context) []Backlog {
	b := &s.backlogs
	if b.counting.TryLock() {
		defer b.counting.Unlock()
		if time.Since(b.at) >= backlogAge {
			list := s.countBacklog(ctx)
			b.list.Store(&list)
			b.at = time.Now()
		}
	}
	if list := b.list.Load(); list != nil {
		return *list
	}
	return nil
}

// countBacklog counts for all who ask, whether the one who asked first waits for it or not.
func (s *Server) countBacklog(ctx context.Context) []Backlog {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), backlogTimeout)
	defer cancel()
	kinds, err := s.Queue.Status(bounded)
	if err != nil {
		_ = failure(ctx, err) // logs it; whether the database answers is another question
		return nil
	}
	out := make([]Backlog, len(kinds))
	for i, k := range kinds {
		out[i] = Backlog{Kind: k.Kind, Waiting: k.Ready + k.Blocked, Running: k.Running, OldestSeconds: k.OldestSeconds, Paused: k.Pause != nil}
	}
	return out
}

// checks asks all dependencies at once.
func (s *Server) checks(ctx context.Context) []Check {
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	names := slices.Sorted(maps.Keys(s.Checks))
	out := make([]Check, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			out[i] = Check{Name: name, OK: true}
			if err := s.Checks[name](bounded); err != nil {
				out[i] = Check{Name: name, Problem: s.Outbox.Redact(failure(ctx, err).Error())}
			}
		})
	}
	wait.Wait()
	return out
}
