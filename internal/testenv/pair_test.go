package testenv_test

import (
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
)

// What was acknowledged is there after the primary was killed and the standby promoted, twice, through proxies of which
// one is cut meanwhile, and after both kinds of restarts.
func TestPairLosesNoAcknowledgedCommit(t *testing.T) {
	t.Parallel()
	p := testenv.NewPair(t, testenv.ServerConfig{})
	proxies := []*testenv.ToxicProxy{testenv.NewToxicProxy(t, p.Address(0)), testenv.NewToxicProxy(t, p.Address(1))}
	url := p.URL(proxies[0].Address, proxies[1].Address)
	ask := func(sql string) (n int) {
		t.Helper()
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(t.Context()) }()
		if err := c.QueryRow(t.Context(), sql).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	write := func() { t.Helper(); ask("INSERT INTO written DEFAULT VALUES RETURNING 1") }
	ask("WITH x AS (SELECT 1) SELECT 1")
	for i, do := range []func() error{
		func() error { return nil },
		func() error { return p.Failover(t.Context()) },
		func() error { return p.Rejoin(t.Context()) },
		func() error { return p.Failover(t.Context()) },
		func() error { return p.Rejoin(t.Context()) },
		func() error { return p.Restart(t.Context(), syscall.SIGINT) },
		func() error { return p.Restart(t.Context(), syscall.SIGQUIT) },
		func() error { proxies[1-p.Primary()].Cut(); return nil },
		func() error { return proxies[1-p.Primary()].Mend() },
	} {
		if i == 0 {
			c, err := pgx.Connect(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Exec(t.Context(), "CREATE TABLE written ()"); err != nil {
				t.Fatal(err)
			}
			_ = c.Close(t.Context())
		}
		if err := do(); err != nil {
			t.Fatalf("act %d: %v", i, err)
		}
		write()
		if n := ask("SELECT count(*) FROM written"); n != i+1 {
			t.Fatalf("after act %d there are %d rows, want %d", i, n, i+1)
		}
	}
}
