package testenv

import (
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Transitions notes each change of the column state of a table from now on, "FROM TO", in whatever way it is made, and returns
// a function that tells those that were seen, sorted. Rows that come and go are not noted.
func Transitions(t testing.TB, pool *pgxpool.Pool, table string) func() []string {
	t.Helper()
	for _, statement := range []string{
		`CREATE TABLE IF NOT EXISTS seen_transitions (of text, was text, became text, PRIMARY KEY (of, was, became))`,
		`CREATE OR REPLACE FUNCTION note_transition() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO seen_transitions VALUES (TG_TABLE_NAME, OLD.state::text, NEW.state::text) ON CONFLICT DO NOTHING; RETURN NULL; END $$`,
		fmt.Sprintf(`CREATE TRIGGER note_transition AFTER UPDATE OF state ON %s FOR EACH ROW EXECUTE FUNCTION note_transition()`, table),
	} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return func() []string {
		t.Helper()
		rows, err := pool.Query(t.Context(), `SELECT was || ' ' || became FROM seen_transitions WHERE of = $1`, table)
		if err != nil {
			t.Fatal(err)
		}
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(list)
		return list
	}
}
