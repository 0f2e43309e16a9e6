package server

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
)

// Check is the answer of one dependency.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	// Problem is why not, with its code.
	Problem string `json:"problem,omitempty"`
}

// ready answers 200 if everything that is needed answers, else 503; the body tells each dependency.
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
	_ = json.NewEncoder(w).Encode(map[string]any{"ready": status == http.StatusOK, "checks": checks}) // the client is gone if it fails
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
