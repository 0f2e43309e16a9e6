package postgres

import (
	"context"
	"errors"
	"os/exec"
	"runtime"
	"time"
)

// killWait is how long a killed process may take to vanish: it may be in the middle of a write to a slow disk.
const killWait = 10 * time.Second

// process is a child whose end can be waited for by several.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // Closed when the child has ended; err is set before.
	err  error
}

// start starts cmd on a thread that lives until the child has ended. The kernel sends the parent-death signal when the
// thread that forked dies, not the process, and Go ends threads as it likes: so the thread is locked.
func start(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// ended says whether the child has ended.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// waitOrKill waits for the child, and kills it when ctx ends first.
func (p *process) waitOrKill(ctx context.Context) error {
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), p.kill())
	}
}

func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !p.ended() {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(killWait):
		return errors.New("the process does not end although it was killed")
	}
}
