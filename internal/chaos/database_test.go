//go:build chaos

package chaos

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/chaos/check"
	"github.com/innominatus/reconciler/internal/testenv"
)

// What the checker asks the database finds what is wrong there: a job of a key that had an older lease than one before it, a job
// that is dead, and one that is left.
func TestCheckerFindsWhatIsWrongInTheDatabase(t *testing.T) {
	pool, dir := testenv.Pool(t), t.TempDir()
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all"},
		{"-c", "user.name=t", "-c", "user.email=t@shop.example", "commit", "--quiet", "--message", "Begin"},
		{"update-ref", "refs/remotes/origin/main", "HEAD"},
	} {
		if err := os.MkdirAll(filepath.Join(dir, "environments", inGit), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "environments", inGit, "_"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := tryGit(dir, args...); err != nil {
			t.Fatal(err)
		}
	}
	found := func() []string {
		t.Helper()
		verdict, err := check.Run(t.Context(), check.Evidence{Database: pool.Config().ConnString(), Deployment: dir, InGit: inGit})
		if err != nil {
			t.Fatal(err)
		}
		return verdict.Violations
	}
	const ended = `INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args, token)
VALUES ($1, now(), now(), now(), 1, $2, 2, 1, 8, 'run', 'application/1', '[]', '{"run": 1}', $3)`
	job := func(id, state, token int) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), ended, id, state, token); err != nil {
			t.Fatal(err)
		}
	}
	const done, dead = 3, 4
	job(1, done, 5)
	job(2, done, 7)
	if list := found(); len(list) > 0 {
		t.Errorf("in order: %q", list)
	}
	job(3, done, 6)
	job(4, dead, 8)
	if _, err := pool.Exec(t.Context(), `INSERT INTO jobs (run_at, due_at, state, priority, max_attempts, kind, key) VALUES (now(), now(), 1, 2, 8, 'run', 'application/2')`); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"job 3 has lease 6 after 7", "job run of application/1 is dead", "job run of application/2 is left"} {
		if list := found(); !slices.ContainsFunc(list, func(v string) bool { return strings.Contains(v, want) }) {
			t.Errorf("%q is not found in %q", want, list)
		}
	}
}
