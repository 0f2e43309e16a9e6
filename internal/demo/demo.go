package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/innominatus/reconciler/pkg/child"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo/gitserver"
)

// Options say how the demo runs.
type Options struct {
	// Dir is where everything is kept. It must be one that everybody may pass when we are root: the embedded Postgres
	// runs as another user.
	Dir string
	// Binary is the reconciler.
	Binary string
	// Exit ends the demo after the story instead of serving until it is stopped.
	Exit bool
	// Out is where the story is told.
	Out io.Writer
}

const (
	// stepLimit bounds the wait for one state: a step takes about a second.
	stepLimit = 60 * time.Second
	// look is how often a state is asked for.
	look = 50 * time.Millisecond
	// stopLimit is how long the server may take to stop.
	stopLimit = 30 * time.Second
)

// repository is the one that the story is about.
const repository = "shop/app"

// environment is the one that it is deployed to.
const environment = "production"

// demo is a running demo.
type demo struct {
	Options
	state  state
	git    *http.Server
	server *exec.Cmd
	done   chan error
	api    api
	waited time.Duration
}

// Run tells the story. It returns nil only if every step was verified.
func Run(ctx context.Context, o Options) error {
	if _, err := exec.LookPath("git"); err != nil {
		return fault.New(fault.CheckFailed, "the demo needs git: %w", err).Do("Install it: apt-get install git")
	}
	d := &demo{Options: o, done: make(chan error, 1)}
	started := time.Now()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		return err
	}
	for i, s := range story {
		if err := d.tell(ctx, i+1, s); err != nil {
			return fault.New(fault.DemoFailed, "step %d, %s: %w", i+1, s.title, err).Do("The server's log is %s.", d.path("server.log"))
		}
	}
	if err := d.end(ctx, time.Since(started)); err != nil {
		return err
	}
	if o.Exit {
		return nil
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(o.Out, "\nStopping.")
		return nil
	case err := <-d.done:
		d.done <- err
		return fmt.Errorf("the server ended by itself (see %s): %w", d.path("server.log"), err)
	}
}

func (d *demo) path(parts ...string) string {
	return filepath.Join(append([]string{d.Dir}, parts...)...)
}

// say prints a line of the story.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// start starts the Git server and the reconciler, and waits until it is ready.
func (d *demo) start(ctx context.Context) error {
	handler, err := gitserver.New(d.path("git"), gitserver.Options{})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", d.state.Git)
	if err != nil {
		return fmt.Errorf("serve the example repositories: %w", err)
	}
	d.git = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = d.git.Serve(listener) }() // ends with Close
	log, err := os.OpenFile(d.path("server.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	d.say("Starting the reconciler on its embedded Postgres …")
	d.server = exec.Command(d.Binary, "serve", "--config", d.path("reconciler.yaml"))
	d.server.Stderr, d.server.Stdout = log, log
	d.server.SysProcAttr = child.Attributes(syscall.SIGTERM)
	if err := d.server.Start(); err != nil {
		return fmt.Errorf("start the reconciler: %w", err)
	}
	go func() { d.done <- d.server.Wait() }()
	d.api = api{base: "http://" + d.state.Server, http: &http.Client{Timeout: 30 * time.Second}}
	if err := d.until(ctx, "the server to be ready", d.api.ready); err != nil {
		return err
	}
	return d.login(ctx)
}

// stop asks the server to stop and waits for it.
func (d *demo) stop() {
	if d.git != nil {
		defer d.git.Close()
	}
	if d.server == nil || d.server.Process == nil {
		return
	}
	_ = d.server.Process.Signal(os.Interrupt) // it may have ended by itself
	select {
	case <-d.done:
	case <-time.After(stopLimit):
		_ = d.server.Process.Kill() // it had its time
		<-d.done
	}
}

// until asks again and again until the answer is yes.
func (d *demo) until(ctx context.Context, what string, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, stepLimit)
	defer cancel()
	started := time.Now()
	defer func() { d.waited += time.Since(started) }()
	tick := time.NewTicker(look)
	defer tick.Stop()
	var last error
	for {
		ok, err := ask(ctx)
		if ok {
			return nil
		}
		last = err
		select {
		case <-tick.C:
		case err := <-d.done:
			d.done <- err
			return fmt.Errorf("the server ended by itself: %w", errors.Join(err, last))
		case <-ctx.Done():
			return fmt.Errorf("waited for %s: %w", what, errors.Join(ctx.Err(), last))
		}
	}
}

// end says what can be looked at, and how to stop.
func (d *demo) end(ctx context.Context, took time.Duration) error {
	plan, err := d.newestPlan(ctx)
	if err != nil {
		return err
	}
	link, err := d.api.link(ctx, "/plans/"+plan)
	if err != nil {
		return err
	}
	d.say("\nEvery step was verified. The story took %.1f s, %.1f s of it waiting for the reconciler.", took.Seconds(), d.waited.Seconds())
	if d.Exit {
		d.say("\n  The newest plan was %s/plans/%s.\n  Start the demo again without --exit to look around; `rm -r %s` forgets everything.", d.api.base, plan, d.Dir)
		return nil
	}
	d.say("\n  The newest plan:      %s/plans/%s", d.api.base, plan)
	d.say("  Log in without token: %s", link)
	d.say("                        (works once, for 10 minutes)")
	d.say("  The manifests:        %s", d.target())
	d.say("  The repository:       git clone http://%s/%s.git", d.state.Git, repository)
	d.say("\nLook around with the CLI (docs/tutorial.md goes on from here):\n")
	d.say("  . %s", d.path("env"))
	d.say("  %s apps", d.Binary)
	d.say("\nPush to the repository and watch what happens. Ctrl-C stops; `rm -r %s` forgets everything.", d.Dir)
	return nil
}
