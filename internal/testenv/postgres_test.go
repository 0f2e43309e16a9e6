package testenv_test

import (
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestPostgresGivesEachTestADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	one, two := testenv.Pool(t), testenv.Pool(t)
	if _, err := one.Exec(t.Context(), "CREATE TABLE mine ()"); err != nil {
		t.Fatal(err)
	}
	var there bool
	if err := two.QueryRow(t.Context(), "SELECT to_regclass('mine') IS NOT NULL").Scan(&there); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("a table of one database is there in the other")
	}
}

func TestPostgresIsMigrated(t *testing.T) {
	t.Parallel()
	var there bool
	err := testenv.Pool(t).QueryRow(t.Context(), "SELECT to_regclass('jobs') IS NOT NULL").Scan(&there)
	if err != nil {
		t.Fatal(err)
	}
	if !there {
		t.Error("the table jobs is missing")
	}
}

func BenchmarkPostgres(b *testing.B) {
	testenv.Postgres(b)
	for b.Loop() {
		testenv.Postgres(b)
	}
}
