package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

const (
	// workerVariable makes the re-executed test binary a worker on that database until it is killed.
	workerVariable = "RECONCILER_TEST_QUEUE_WORKER"
	// witnessVariable names the directory where workers leave a lock and a log per key.
	witnessVariable = "RECONCILER_TEST_QUEUE_WITNESS"
	// leaseVariable, if set, is the lease of workers; all else is then as by default.
	leaseVariable = "RECONCILER_TEST_QUEUE_LEASE"

	chaosKeys = 12
	chaosTime = 10 * time.Second
)

// workUntilKilled is the whole program of a worker. It ends by being killed, or when the test ends and closes its input.
func workUntilKilled(url string) {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	ctx := context.Background()
	cfg := quick()
	lease, err := time.ParseDuration(os.Getenv(leaseVariable))
	if err == nil {
		cfg = queue.Config{Lease: lease, Heartbeat: lease / 3}
	}
	pool, err := postgres.Open(ctx, postgres.Config{URL: url, MaxConns: 4, IdleInTransaction: lease})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cfg.Log = zerolog.New(os.Stderr).Level(zerolog.ErrorLevel)
	q := queue.New(pool, cfg)
	witness := work(func(ctx context.Context, job *queue.Job) error {
		return leaveTrace(ctx, os.Getenv(witnessVariable), job)
	})
	q.Handle("fifo", witness)
	q.Handle("newest", witness)
	begun := func(job *queue.Job) error {
		return appendLine(filepath.Join(os.Getenv(witnessVariable), job.Key), fmt.Sprint(os.Getpid()))
	}
	q.Handle("hangs", work(func(ctx context.Context, job *queue.Job) error {
		if err := begun(job); err != nil || job.Attempt > 1 {
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}))
	q.Handle("freezes", work(func(ctx context.Context, job *queue.Job) error {
		if job.Attempt > 1 {
			return begun(job)
		}
		return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if err := errors.Join(job.Hold(ctx, tx), begun(job)); err != nil {
				return err
			}
			if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
				return err
			}
			<-ctx.Done() // On a busy machine this thread goes on for a while.
			return ctx.Err()
		})
	}))
	if err := q.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(1)
}

// leaveTrace appends the job's number to the log of its key, under a lock that does not come from the database: the
// kernel frees it when the process is killed. Two at once leave a line that says so.
func leaveTrace(ctx context.Context, dir string, job *queue.Job) error {
	file, err := os.OpenFile(filepath.Join(dir, job.Key), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_, err := fmt.Fprintf(file, "two at once: %v\n", err)
		return err
	}
	if _, err := fmt.Fprintf(file, "%s\n", job.Args); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond): // The work.
	}
	return nil
}

func appendLine(path, line string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Close())
}

// victim is a worker process. start starts another when it was killed.
type victim struct {
	cmd   *exec.Cmd
	input io.Closer
}

func startVictim(t *testing.T, url, dir string, variables ...string) victim {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(variables, workerVariable+"="+url, witnessVariable+"="+dir)...)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return victim{cmd, input}
}

func (v victim) kill(t *testing.T) {
	t.Helper()
	if err := v.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = v.cmd.Wait() // "signal: killed"
}

func TestPromiseNoJobIsLostWhenWorkersAreKilled(t *testing.T) {
	t.Parallel()
	pool, dir := testenv.Pool(t), t.TempDir()
	url := pool.Config().ConnString()
	q := queue.New(pool, quick())
	victims := make([]victim, replicaCount)
	for i := range victims {
		victims[i] = startVictim(t, url, dir)
	}
	t.Cleanup(func() {
		for _, v := range victims {
			v.kill(t)
		}
	})
	numbers, kills := 0, 0
	for end := time.Now().Add(chaosTime); time.Now().Before(end); numbers++ {
		for key := range chaosKeys {
			in := queue.Insert{Kind: "fifo", Key: fmt.Sprint("fifo", key), Args: numbers, MaxAttempts: 100}
			if key%2 == 1 {
				in.Kind, in.Key, in.Generation = "newest", fmt.Sprint("newest", key), int64(numbers+1)
			}
			enqueue(t, pool, q, in)
		}
		if numbers%4 == 3 {
			i := rand.IntN(replicaCount)
			victims[i].kill(t)
			victims[i] = startVictim(t, url, dir)
			kills++
		}
		<-time.After(60 * time.Millisecond) // The pace of the enqueuing, not a wait for something.
	}
	until(t, "all jobs have ended", func() bool { return live(t, q) == 0 })
	var abandoned int
	err := pool.QueryRow(t.Context(), "SELECT coalesce(sum(jsonb_array_length(failures)), 0) FROM job_history").Scan(&abandoned)
	if err != nil || abandoned == 0 {
		t.Errorf("no job was ever taken over, %v: the test shows nothing", err)
	}
	t.Logf("%d jobs, %d workers killed, %d jobs taken over", numbers*chaosKeys, kills, abandoned)
	for key := range chaosKeys {
		if key%2 == 1 {
			checkNewest(t, filepath.Join(dir, fmt.Sprint("newest", key)), numbers)
		} else {
			checkAll(t, filepath.Join(dir, fmt.Sprint("fifo", key)), numbers)
		}
	}
	dead, err := q.List(t.Context(), queue.Filter{States: []queue.State{queue.Dead, queue.Cancelled}})
	if err != nil || len(dead) > 0 {
		t.Errorf("%d jobs died, %v: %+v", len(dead), err, dead)
	}
}

// trace reads the numbers of a log. One that was killed between its effect and its end ran again: that is one number.
func trace(t *testing.T, path string) []int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for line := range strings.Lines(string(text)) {
		n, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			t.Errorf("%s: %s", path, line)
			continue
		}
		numbers = append(numbers, n)
	}
	return slices.Compact(numbers)
}

func checkAll(t *testing.T, path string, count int) {
	t.Helper()
	got := trace(t, path)
	if len(got) != count {
		t.Errorf("%s: %d of %d jobs ran", path, len(got), count)
	}
	for i, n := range got {
		if i != n {
			t.Errorf("%s: number %d ran in place %d", path, n, i)
			return
		}
	}
}

func checkNewest(t *testing.T, path string, count int) {
	t.Helper()
	got := trace(t, path)
	if !slices.IsSorted(got) || len(got) == 0 || got[len(got)-1] != count-1 {
		t.Errorf("%s: the newest of %d did not win: %v", path, count, got)
	}
}
