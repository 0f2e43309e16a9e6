package testenv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Pair is a primary with a synchronous standby: no commit that was acknowledged is lost by a failover. The two servers, 0 and
// 1, keep their addresses while they change roles.
type Pair struct {
	nodes [2]*Server

	mu      sync.Mutex
	primary int
}

// NewPair starts a primary with the current schema and its standby; both end with the test.
func NewPair(t testing.TB, config ServerConfig) *Pair {
	t.Helper()
	// A standby that was away finds what it missed, and looks for its primary again soon.
	config.Settings = append([]string{"wal_keep_size=256MB", "wal_retrieve_retry_interval=500ms"}, config.Settings...)
	p := &Pair{nodes: [2]*Server{NewServer(t, config), newServer(t, config)}}
	must(t, p.Rejoin(t.Context()))
	return p
}

// Address returns where a server listens, HOST:PORT.
func (p *Pair) Address(node int) string { return p.nodes[node].Address() }

// Primary returns which server takes writes.
func (p *Pair) Primary() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.primary
}

// URL returns the URL of the database for clients that reach the servers at these addresses, or without any at their own, and
// want the primary.
func (p *Pair) URL(addresses ...string) string {
	if len(addresses) == 0 {
		addresses = []string{p.Address(0), p.Address(1)}
	}
	return serverURL(addresses...) + "?sslmode=disable&target_session_attrs=read-write"
}

// Restart restarts the primary as [Server.Restart] does.
func (p *Pair) Restart(ctx context.Context, signal syscall.Signal) error {
	return p.nodes[p.Primary()].Restart(ctx, signal)
}

// Failover kills the primary and promotes the standby. The new primary has no standby until [Pair.Rejoin].
func (p *Pair) Failover(ctx context.Context) error {
	old := p.Primary()
	if err := p.nodes[old].Stop(syscall.SIGKILL); err != nil {
		return err
	}
	p.mu.Lock()
	p.primary = 1 - old
	p.mu.Unlock()
	if err := p.nodes[1-old].Exec(ctx, "SELECT pg_promote()"); err != nil {
		return err
	}
	// Nobody is there to wait for.
	return p.synchronous(ctx, "")
}

// Rejoin makes a new standby in the place of the server that is not the primary, which does not run, and has commits wait
// until it has them.
func (p *Pair) Rejoin(ctx context.Context) error {
	primary, standby := p.nodes[p.Primary()], p.nodes[1-p.Primary()]
	if err := os.RemoveAll(standby.data()); err != nil {
		return err
	}
	if err := standby.run(ctx, filepath.Join(standby.bin, "pg_basebackup"), "-D", standby.data(), "-R", "-X", "stream",
		"--checkpoint=fast", "--no-sync", "-d", primary.URL()); err != nil {
		return err
	}
	if err := standby.Start(ctx); err != nil {
		return err
	}
	if err := p.synchronous(ctx, "*"); err != nil {
		return err
	}
	return poll(ctx, func(ctx context.Context) error {
		return primary.Exec(ctx, "SELECT 1 / count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
	})
}

// synchronous says for whom the primary's commits wait.
func (p *Pair) synchronous(ctx context.Context, names string) error {
	primary := p.nodes[p.Primary()]
	return errors.Join(primary.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'"), primary.Exec(ctx, "SELECT pg_reload_conf()"))
}
