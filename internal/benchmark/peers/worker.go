package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// workerVariable makes this program a worker: the name of the peer, how many places and the database's URL.
	workerVariable = "RECONCILER_PEERS_WORKER"
	// hangs is a number of keys that stands for one job whose first attempt never ends.
	hangs = -1
)

// workerMain is the whole program of a worker. It says "ready", works after a line on its input, and says "started" for a
// job that was made to hang; it ends when its input does.
func workerMain() {
	parts := strings.SplitN(os.Getenv(workerVariable), " ", 3)
	p := peers[slices.IndexFunc(peers, func(p peer) bool { return strings.ReplaceAll(p.name, " ", "-") == parts[0] })]
	count, err := strconv.Atoi(parts[1])
	fail(err)
	ctx := context.Background()
	config, err := pgxpool.ParseConfig(parts[2])
	fail(err)
	config.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(ctx, config)
	fail(err)
	fail(pool.Ping(ctx))
	fmt.Println("ready")
	input := bufio.NewReader(os.Stdin)
	_, err = input.ReadString('\n')
	fail(err)
	go func() {
		_, _ = io.Copy(io.Discard, input)
		os.Exit(0)
	}()
	fail(p.work(ctx, pool, count, func(ctx context.Context, attempt int) {
		if !isHanging(ctx) {
			return
		}
		fmt.Println("started")
		if attempt == 1 {
			select {} // Whatever it is told: it is killed.
		}
	}))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

type hangingKey struct{}

// hanging marks the context of a job that is to hang.
func hanging(ctx context.Context) context.Context { return context.WithValue(ctx, hangingKey{}, true) }

func isHanging(ctx context.Context) bool { return ctx.Value(hangingKey{}) != nil }

// workers are processes of this program.
type workers struct {
	commands []*exec.Cmd
	inputs   []io.WriteCloser
	outputs  []*bufio.Reader
}

// startWorkers starts processes and waits until they are ready.
func startWorkers(p peer, url string, processes int) (*workers, error) {
	w := &workers{}
	for range processes {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", workerVariable, strings.ReplaceAll(p.name, " ", "-"), places/processes, url))
		cmd.Stderr = os.Stderr
		input, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		output, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		w.commands, w.inputs, w.outputs = append(w.commands, cmd), append(w.inputs, input), append(w.outputs, bufio.NewReader(output))
	}
	for _, output := range w.outputs {
		if _, err := output.ReadString('\n'); err != nil {
			w.kill()
			return nil, fmt.Errorf("wait for a worker: %w", err)
		}
	}
	return w, nil
}

func (w *workers) goOn() {
	for _, input := range w.inputs {
		_, _ = io.WriteString(input, "go\n") // A worker that is gone is noticed by what is not done.
	}
}

// waitStart waits until the first worker says that the hanging job has started.
func (w *workers) waitStart(limit time.Duration) error {
	said := make(chan error, 1)
	go func() {
		_, err := w.outputs[0].ReadString('\n')
		said <- err
	}()
	select {
	case err := <-said:
		return err
	case <-time.After(limit):
		return fmt.Errorf("the job does not start within %s", limit)
	}
}

func (w *workers) kill() {
	for _, cmd := range w.commands {
		_ = cmd.Process.Kill() // It may be dead already.
		_ = cmd.Wait()
	}
}
