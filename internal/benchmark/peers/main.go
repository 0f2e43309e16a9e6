// Command peers measures the queue beside River on one PostgreSQL server that waits for its disk, in one run, and prints a
// table. River keeps no order and has no keys: its jobs are the easier ones.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// peer is one of the queues that are compared, with its settings.
type peer struct {
	name string
	// keys says that it can keep the jobs of a key apart.
	keys bool
	// prepare makes the tables of an empty database.
	prepare func(ctx context.Context, url string) error
	// enqueue adds jobs on so many keys.
	enqueue func(ctx context.Context, pool *pgxpool.Pool, jobs, keys int) error
	// left is SQL that counts the jobs that are not done yet.
	left string
	// work does jobs until ctx ends and calls started as each begins, with its attempt; places is how many at once.
	work func(ctx context.Context, pool *pgxpool.Pool, places int, started func(ctx context.Context, attempt int)) error
	// recovers is how long the job of a killed worker may take to run again for it to be measured; 0 is not measured.
	recovers time.Duration
}

var peers = []peer{ours, riverDefault, riverTuned}

// places is how many jobs run at once in all processes together.
const places = 256

func main() {
	if os.Getenv(workerVariable) != "" {
		workerMain()
		return
	}
	jobs := flag.Int("jobs", 20_000, "how many jobs a measurement of throughput does")
	rounds := flag.Int("rounds", 3, "how often throughput is measured")
	only := flag.String("only", "", "measure only what has this in its name: limit, throughput, latency, recovery")
	flag.Parse()
	if err := run(context.Background(), &measurement{binaries: os.Getenv("PGBIN"), jobs: *jobs, rounds: *rounds}, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, m *measurement, only string) error {
	dir, err := os.MkdirTemp("", "reconciler-peers-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o711); err != nil { // As root the server runs as another user.
		return err
	}
	server, err := postgres.StartEmbedded(ctx, postgres.EmbeddedConfig{DataDir: dir, BinDir: m.binaries})
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop(context.WithoutCancel(ctx)) }() // The directory is removed.
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tWHO\tFIGURE")
	m.server, m.table = server.URL(), t
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) error
	}{{"limit", m.limit}, {"throughput", m.throughput}, {"latency", m.latency}, {"recovery", m.recovery}} {
		if !strings.Contains(step.name, only) {
			continue
		}
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return t.Flush()
}

// measurement is one run.
type measurement struct {
	// binaries is the folder of PostgreSQL's programs, "" to have them looked for.
	binaries  string
	server    string
	jobs      int
	rounds    int
	databases int
	table     *tabwriter.Writer
}

func (m *measurement) tell(what, who, format string, args ...any) {
	fmt.Fprintf(m.table, "%s\t%s\t%s\n", what, who, fmt.Sprintf(format, args...))
	fmt.Fprintf(os.Stderr, "%s, %s: %s\n", what, who, fmt.Sprintf(format, args...)) // So that one sees it go on.
}

// database makes an empty database for a peer and opens it.
func (m *measurement) database(ctx context.Context, p peer) (where string, pool *pgxpool.Pool, err error) {
	m.databases++
	name := fmt.Sprintf("bench%d", m.databases)
	admin, err := pgx.Connect(ctx, m.server)
	if err != nil {
		return "", nil, err
	}
	_, err = admin.Exec(ctx, "CREATE DATABASE "+name)
	if err := errors.Join(err, admin.Close(ctx)); err != nil {
		return "", nil, err
	}
	address, err := url.Parse(m.server)
	if err != nil {
		return "", nil, err
	}
	address.Path = "/" + name
	where = address.String()
	if err := p.prepare(ctx, where); err != nil {
		return "", nil, err
	}
	pool, err = pgxpool.New(ctx, where)
	return where, pool, err
}

// limit asks pgbench what the server can do: rows updated one by one by 8 clients.
func (m *measurement) limit(ctx context.Context) error {
	bin, err := postgres.BinDir(ctx, m.binaries)
	if err != nil {
		return err
	}
	where, pool, err := m.database(ctx, peer{prepare: func(context.Context, string) error { return nil }})
	if err != nil {
		return err
	}
	defer pool.Close()
	if _, err := pool.Exec(ctx, "CREATE TABLE counters AS SELECT n AS id, 0 AS n FROM generate_series(1, 100000) n; ALTER TABLE counters ADD PRIMARY KEY (id)"); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pgbench"), "--no-vacuum", "--client=8", "--jobs=2", "--time=5", "--protocol=prepared", "--file=/dev/stdin", where)
	cmd.Stdin = strings.NewReader("\\set id random(1, 100000)\nUPDATE counters SET n = n + 1 WHERE id = :id;\n")
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		m.tell("limit", "pgbench", "is not installed")
		return nil
	}
	tps := regexp.MustCompile(`tps = (\d+)`).FindSubmatch(out)
	if err != nil || tps == nil {
		return fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	m.tell("limit: one-row updates, 8 clients", "pgbench", "%s a second", tps[1])
	return nil
}

// load is a measurement of throughput: who does jobs on how many keys in how many processes.
type load struct {
	peer            peer
	keys, processes int
}

func (l load) String() string {
	s := fmt.Sprintf("throughput: %d keys, %d process", l.keys, l.processes)
	if l.processes > 1 {
		s += "es"
	}
	return s
}

// throughput measures how fast jobs that wait are done, with keys for who has them: the median of some rounds. A round
// measures all, so that what else the machine does hits all alike.
func (m *measurement) throughput(ctx context.Context) error {
	var loads []load
	for _, keys := range []int{1000, 10, 1} {
		for _, processes := range []int{1, 4} {
			for _, p := range peers {
				if p.keys || keys == 1000 {
					loads = append(loads, load{p, keys, processes})
				}
			}
		}
	}
	figures := make([][]float64, len(loads))
	for range m.rounds {
		for i, l := range loads {
			figure, err := m.throughputOf(ctx, l)
			if err != nil {
				return fmt.Errorf("%s: %w", l.peer.name, err)
			}
			figures[i] = append(figures[i], figure)
		}
	}
	for i, l := range loads {
		slices.Sort(figures[i])
		m.tell(l.String(), l.peer.name, "%.0f jobs a second (%.0f to %.0f)", figures[i][m.rounds/2], figures[i][0], figures[i][m.rounds-1])
	}
	return nil
}

func (m *measurement) throughputOf(ctx context.Context, l load) (float64, error) {
	where, pool, err := m.database(ctx, l.peer)
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	jobs := m.jobs
	if l.keys < 1000 {
		jobs /= 10 // They take longer.
	}
	if err := l.peer.enqueue(ctx, pool, jobs, l.keys); err != nil {
		return 0, err
	}
	if _, err := pool.Exec(ctx, "VACUUM ANALYZE"); err != nil {
		return 0, err
	}
	workers, err := startWorkers(l.peer, where, l.processes)
	if err != nil {
		return 0, err
	}
	defer workers.kill()
	began := time.Now()
	workers.goOn()
	for left := 1; left > 0; {
		<-time.After(20 * time.Millisecond)
		if err := pool.QueryRow(ctx, l.peer.left).Scan(&left); err != nil {
			return 0, err
		}
		if time.Since(began) > 5*time.Minute {
			return 0, fmt.Errorf("%d of %d jobs are left after 5 minutes", left, jobs)
		}
	}
	return float64(jobs) / time.Since(began).Seconds(), nil
}
