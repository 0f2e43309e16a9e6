// Command peers measures the queue beside River on one PostgreSQL server that waits for its disk, in one run, prints a table, and
// writes it as JSON if it is told where. River keeps no order and has no keys: its jobs are the easier ones.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
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
	// enqueue adds jobs on so many keys, from one of them on.
	enqueue func(ctx context.Context, pool *pgxpool.Pool, jobs, keys, from int) error
	// left is SQL that counts the jobs that are not done yet, and took SQL that says of each that was done how many milliseconds
	// lay between its enqueueing and its start.
	left, took string
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
	only := flag.String("only", "", "measure only what has this in its name: limit, throughput, load, latency, recovery")
	out := flag.String("out", "", "a file for the figures as JSON")
	flag.Parse()
	m := &measurement{binaries: os.Getenv("PGBIN"), jobs: *jobs, rounds: *rounds}
	err := run(context.Background(), m, *only)
	if err == nil {
		err = m.print(*out)
	}
	if err != nil {
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
	m.server = server.URL()
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) error
	}{{"limit", m.limit}, {"throughput", m.throughput}, {"load", m.underLoad}, {"latency", m.latency}, {"recovery", m.recovery}} {
		if !strings.Contains(step.name, only) {
			continue
		}
		if err := step.do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// measurement is one run.
type measurement struct {
	// binaries is the folder of PostgreSQL's programs, "" to have them looked for.
	binaries  string
	server    string
	jobs      int
	rounds    int
	databases int
	figures   []figure
}

// figure is a measured value. Least and Most are those of the rounds, where there are several.
type figure struct {
	What  string  `json:"what"`
	Who   string  `json:"who"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	Least float64 `json:"least,omitempty"`
	Most  float64 `json:"most,omitempty"`
}

func (f figure) String() string {
	s := fmt.Sprintf("%.4g %s", f.Value, f.Unit)
	if f.Value >= 1000 {
		s = fmt.Sprintf("%.0f %s", f.Value, f.Unit)
	}
	if f.Most > 0 {
		s += fmt.Sprintf(" (%.0f to %.0f)", f.Least, f.Most)
	}
	return s
}

func (m *measurement) tell(f figure) {
	m.figures = append(m.figures, f)
	fmt.Fprintf(os.Stderr, "%s, %s: %s\n", f.What, f.Who, f) // So that one sees it go on.
}

// goals are what our figures should reach, by their name: at most that, and those of throughput at least River's best.
var goals = map[string]float64{"idle: enqueue to start, p50": 3, "idle: enqueue to start, p99": 20, "kill -9 to running again": 11}

// goal says what a figure of ours should be and whether it is, "-" where there is no goal.
func (m *measurement) goal(f figure) string {
	if f.Who != ours.name {
		return "-"
	}
	want, met := goals[f.What], false
	if met = f.Value <= want; strings.HasPrefix(f.What, "throughput") {
		for _, other := range m.figures {
			if other.What == f.What && other.Who != ours.name {
				want = max(want, other.Value)
			}
		}
		met = f.Value >= want
	}
	if want == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f: %s", want, map[bool]string{true: "met", false: "missed"}[met])
}

// print writes the table, and the figures into a file if there is to be one.
func (m *measurement) print(out string) error {
	t := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tWHO\tFIGURE\tGOAL")
	for _, f := range m.figures {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.What, f.Who, f, m.goal(f))
	}
	if err := t.Flush(); err != nil || out == "" {
		return err
	}
	text, err := json.MarshalIndent(m.figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(text, '\n'), 0o644)
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
	tps := regexp.MustCompile(`tps = (\d+)`).FindSubmatch(out)
	if err != nil || tps == nil {
		return fmt.Errorf("pgbench: %w\n%s", err, out)
	}
	value, err := strconv.ParseFloat(string(tps[1]), 64)
	m.tell(figure{What: "limit: one-row updates, 8 clients", Who: "pgbench", Value: value, Unit: "a second"})
	return err
}

// load is a measurement of throughput: who does jobs on how many keys in how many processes.
type load struct {
	peer            peer
	keys, processes int
}

func (l load) String() string {
	s := fmt.Sprintf("%d keys, %d process", l.keys, l.processes)
	if l.processes > 1 {
		s += "es"
	}
	return s
}

// loads are all that is measured with jobs that come or wait, with keys for who has them.
func loads() (list []load) {
	for _, keys := range []int{1000, 10, 1} {
		for _, processes := range []int{1, 4} {
			for _, p := range peers {
				if p.keys || keys == 1000 {
					list = append(list, load{p, keys, processes})
				}
			}
		}
	}
	return list
}

// throughput measures how fast jobs that wait are done: the median of some rounds. A round measures all, so that what else the
// machine does hits all alike.
func (m *measurement) throughput(ctx context.Context) error {
	loads := loads()
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
		m.tell(figure{"throughput: " + l.String(), l.peer.name, figures[i][m.rounds/2], "jobs a second", figures[i][0], figures[i][m.rounds-1]})
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
	if err := l.peer.enqueue(ctx, pool, jobs, l.keys, 0); err != nil {
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
	err = l.done(ctx, pool, jobs)
	return float64(jobs) / time.Since(began).Seconds(), err
}

// done waits until no job is left.
func (l load) done(ctx context.Context, pool *pgxpool.Pool, jobs int) error {
	const limit = 5 * time.Minute
	began := time.Now()
	for left := 1; left > 0; {
		<-time.After(20 * time.Millisecond)
		if err := pool.QueryRow(ctx, l.peer.left).Scan(&left); err != nil {
			return err
		}
		if time.Since(began) > limit {
			return fmt.Errorf("%d of %d jobs are left after %s", left, jobs, limit)
		}
	}
	return nil
}
