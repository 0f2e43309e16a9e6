//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
)

const (
	// owner is the role that reaches the database past the pooler, so that its sessions are known by their name.
	owner        = "owner"
	sqlMakeOwner = `CREATE ROLE ` + owner + ` SUPERUSER LOGIN`
	sqlMigrated  = `SELECT tableowner::text FROM pg_tables WHERE tablename = 'jobs'`
	sqlListening = `SELECT usename::text FROM pg_stat_activity WHERE query LIKE 'LISTEN %'`
	sqlShutOut   = `ALTER ROLE ` + owner + ` NOLOGIN`
	sqlHangUp    = `SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE usename = '` + owner + `'`
	sqlUsers     = `SELECT DISTINCT usename::text FROM pg_stat_activity WHERE application_name = 'reconciler ` + instance + `'`
)

// pool gives the world an empty database behind a PgBouncer in transaction mode, and returns the configuration that leads
// there.
func (w *world) pool() string {
	w.Helper()
	s := testenv.NewServer(w.T, testenv.ServerConfig{})
	w.database = s.URL()
	w.emptyDatabase()
	_ = w.rows(sqlMakeOwner)
	w.write("pooler", testenv.PgBouncer(w.T, s))
	w.write("direct", strings.Replace(s.URL(), "reconciler@", owner+"@", 1))
	return "{url: {file: pooler}, direct: {file: direct}, pgbouncer: true}"
}

// The whole story: an empty database is migrated, and all else but LISTEN goes through the pooler. A server that runs can do
// without the way past it.
func TestStoryThroughPgBouncerInTransactionMode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{pooled: true})
	if owners := w.rows(sqlMigrated); !slices.Equal(owners, []string{owner}) {
		t.Errorf("the table of jobs belongs to %q: it was not made past the pooler", owners)
	}
	w.until("one session to listen, past the pooler", func() (bool, string) {
		listening := w.rows(sqlListening)
		return slices.Equal(listening, []string{owner}), fmt.Sprint(listening)
	})
	story(t, w)
	if users := w.rows(sqlUsers); !slices.Contains(users, "reconciler") {
		t.Errorf("sessions are of %q: nothing went through the pooler", users)
	}

	t.Log("without the way past the pooler")
	_ = w.rows(sqlShutOut)
	_ = w.rows(sqlHangUp)
	till := strings.Replace(shop("till:1"), "name: shop", "name: till", 1)
	w.waitDeployed("till", w.gitea.Commit(t, w.app, testenv.Change{Files: map[string]string{"till/score.yaml": till}}))
	if listening := w.rows(sqlListening); len(listening) > 0 {
		t.Errorf("%q listen: the test shows nothing", listening)
	}
}
