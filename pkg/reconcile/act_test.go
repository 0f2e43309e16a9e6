package reconcile

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// What a person does may wait for a transaction that waits for it: Postgres ends one of them, and that is none of the person's
// business.
func TestWhatAPersonDoesOutlivesADeadlock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	commit := w.push(map[string]string{"a.score.yaml": file("alpha", "a:1")})
	id := w.app("alpha").ID
	met := false
	for !met {
		held := make(chan error, 1)
		err := pgx.BeginFunc(t.Context(), w.Pool, func(tx pgx.Tx) error {
			if err := lockRevisions(t.Context(), tx, ours, commit); err != nil {
				return err
			}
			go func() { held <- w.Hold(t.Context(), "production", "alpha", "stocktaking", "dana") }()
			w.until("the person to wait", func() bool {
				return w.rows(`SELECT count(*)::text FROM pg_locks WHERE NOT granted AND locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == "1"
			})
			return w.Runs.LockJobs(t.Context(), tx, w.queue, id)
		})
		if err := <-held; err != nil {
			t.Fatal(err)
		}
		if met = err == nil; !met && !strings.Contains(err.Error(), "deadlock detected") {
			t.Fatal(err)
		}
	}
	if h := w.app("alpha").Hold; h == nil || h.Reason != "stocktaking" {
		t.Error(h)
	}
}
