//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// gate is a statement of the server that a test can hold: a trigger in its database waits there for a lock that the test
// has. So the server is in the middle of it for as long as the test wants.
type gate struct {
	// table and event are what the trigger is on, when is its condition.
	table, event, when string
	// kind is that of the job that comes to the gate, key a pattern of its key.
	kind, key string
}

// The places where the server is held.
var (
	atPlan       = gate{"evaluations", "INSERT OR UPDATE", "NEW.ref LIKE '#%'", "pull", "%"}
	atLook       = gate{"pulls", "INSERT OR UPDATE", "true", "look", "%"}
	atEvaluation = gate{"releases", "INSERT", "true", "branch", "%"}
	// The target is not touched yet.
	beforeDelivery = gate{"steps", "UPDATE", "NEW.name = 'deliver' AND NEW.state = 'running'", "run", "%"}
	// The commit is in the deployment repository, and nobody has noted it.
	afterDelivery = gate{"steps", "UPDATE", "NEW.name = 'deliver' AND NEW.state = 'succeeded'", "run", "%"}
	atRetirement  = gate{"resources", "UPDATE", "NEW.deleted_at IS NOT NULL", "run", "%"}
	// The forge has the comment, and nobody has noted it.
	afterComment = gate{"reports", "UPDATE", "NEW.kind = 'comment' AND NEW.sent IS DISTINCT FROM OLD.sent", "report", "%/comment/%"}
)

// gateClass is the first half of the lock's key; the product's own locks have keys of one part.
const gateClass = 20110

// db is a connection to the server's database.
func (w *world) db() *pgx.Conn {
	w.Helper()
	c, err := pgx.Connect(w.Context(), w.database)
	w.must(err)
	w.Cleanup(func() { _ = c.Close(context.WithoutCancel(w.Context())) })
	return c
}

// close holds what comes to a gate until open is called. arrived waits until a job is there, and returns its id and the
// token of its lease.
func (w *world) close(g gate) (arrived func() (job, token int64), open func()) {
	w.Helper()
	c := w.db()
	exec := func(sql string, args ...any) {
		w.Helper()
		_, err := c.Exec(w.Context(), sql, args...)
		w.must(err)
	}
	exec(`CREATE OR REPLACE FUNCTION e2e_gate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared(TG_ARGV[0]::int, 1); RETURN NEW; END $$`)
	exec(`SELECT pg_advisory_lock($1::int, 1)`, gateClass)
	exec(fmt.Sprintf(`CREATE TRIGGER e2e_gate BEFORE %s ON %s FOR EACH ROW WHEN (%s) EXECUTE FUNCTION e2e_gate('%d')`, g.event, g.table, g.when, gateClass))
	arrived = func() (job, token int64) {
		w.Helper()
		w.until("a job of kind "+g.kind+" at the gate", func() (bool, string) {
			var waiting int
			w.must(c.QueryRow(w.Context(), `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::int::oid AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, gateClass).Scan(&waiting))
			return waiting > 0, "nobody waits there"
		})
		// One row: the job is in the state running, and it is the only one that it can be.
		w.must(c.QueryRow(w.Context(), `SELECT id, token FROM jobs WHERE state = 2 AND kind = $1 AND key LIKE $2 AND lease_until > now()
AND (SELECT count(*) FROM jobs WHERE state = 2 AND kind = $1 AND key LIKE $2) = 1`, g.kind, g.key).Scan(&job, &token))
		return job, token
	}
	open = func() {
		w.Helper()
		exec(`SELECT pg_advisory_unlock($1::int, 1)`, gateClass)
		// Statements that had begun are through before the trigger can go.
		exec("DROP TRIGGER e2e_gate ON " + g.table)
		w.must(c.Close(w.Context()))
	}
	return arrived, open
}

// killAt makes the server come to a gate with what is done next, and returns a function that waits until it is there,
// kills it, starts it again, and sees that the job is taken over and done by a later lease.
func (w *world) killAt(g gate) (strike func()) {
	w.Helper()
	arrived, open := w.close(g)
	return func() {
		w.Helper()
		job, token := arrived()
		w.stop(syscall.SIGKILL)
		c := w.db()
		// What the dead process had asked for is not done on its behalf.
		_, err := c.Exec(w.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid IN
(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::int::oid AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`, gateClass)
		w.must(err)
		var running bool
		w.must(c.QueryRow(w.Context(), `SELECT EXISTS (SELECT FROM jobs WHERE id = $1 AND token = $2 AND state = 2)`, job, token).Scan(&running))
		if !running {
			w.Errorf("the %s job was not running when the server was killed", g.kind)
		}
		open()
		w.start()
		w.until(fmt.Sprintf("the %s job %d to be taken over and done", g.kind, job), func() (bool, string) {
			// A hint that came meanwhile puts another job in its place, which does what both were asked.
			var over bool
			err := c.QueryRow(w.Context(), `SELECT state = 3 AND token > $2 OR state = 5 AND EXISTS
(SELECT FROM job_history n WHERE n.key = h.key AND n.id > h.id AND n.state = 3 AND n.token > $2) FROM job_history h WHERE id = $1`, job, token).Scan(&over)
			return err == nil && over, fmt.Sprint(err)
		})
		w.must(c.Close(w.Context()))
	}
}

// settled waits until no job is left but looks, and everything that is to be said was sent.
func (w *world) settled() {
	w.Helper()
	c := w.db()
	w.until("everything to be done and told", func() (bool, string) {
		rows, err := c.Query(w.Context(), `SELECT kind || ' ' || key FROM jobs WHERE kind <> 'look' UNION ALL SELECT kind || ' for ' || target FROM reports WHERE sent < version AND NOT dead`)
		w.must(err)
		left, err := pgx.CollectRows(rows, pgx.RowTo[string])
		w.must(err)
		return len(left) == 0, strings.Join(left, ", ")
	})
	w.must(c.Close(w.Context()))
}
