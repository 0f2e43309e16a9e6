package testenv

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a process that we have started.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// StartProcess starts a command on a thread that lives as long: the kernel sends the signal of child.Attributes, which the
// command should have, when the thread that forked ends.
func StartProcess(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // Its state tells how it ended.
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd, err)
	}
	return p, nil
}

// Done is closed when the process has ended; then the command's ProcessState says how.
func (p *Process) Done() <-chan struct{} { return p.done }

// ID returns the number of the process.
func (p *Process) ID() int { return p.cmd.Process.Pid }

// Signal signals the process alone. One that has ended is not there to be told, which is no error.
func (p *Process) Signal(signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.cmd, err)
	}
	return nil
}

// End signals the process alone and waits until it has ended, at most for limit.
func (p *Process) End(signal os.Signal, limit time.Duration) error {
	return errors.Join(p.Signal(signal), p.wait(limit))
}

// endGroup is End for all processes of a group of its own, while its first one lives.
func (p *Process) endGroup(signal syscall.Signal) error {
	select {
	case <-p.done: // The number of the group may be somebody else's by now.
		return nil
	default:
	}
	err := syscall.Kill(-p.ID(), signal)
	if errors.Is(err, syscall.ESRCH) {
		err = nil // It has just ended.
	}
	return errors.Join(err, p.wait(patience))
}

func (p *Process) wait(limit time.Duration) error {
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("%s does not end within %s", p.cmd, limit)
	}
}

// FreeAddress returns an address of loopback, HOST:PORT, that nobody listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := freeAddress()
	must(t, err)
	return address
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("look for a free port: %w", err)
	}
	if err := listener.Close(); err != nil {
		return "", fmt.Errorf("give the port free: %w", err)
	}
	return listener.Addr().String(), nil
}

// childrenOf returns the ids of a process's children.
func childrenOf(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // only a malformed pattern gives an error
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it ended meanwhile
		}
		// "12 (postgres: x) S 11 …": the name may hold anything.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil && len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pids = append(pids, pid)
		}
	}
	return pids
}
