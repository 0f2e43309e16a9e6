//go:build chaos

package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/child"
)

const (
	// restartPause is how long a supervisor waits before it starts a server again that ended.
	restartPause = time.Second
	// stopLimit is how long a server may take to stop: it lets its jobs end first.
	stopLimit = time.Minute
)

// replica is one server process that is started again whenever it ends, as a supervisor would.
type replica struct {
	name, config, log string
	// address is where its API is, HOST:PORT.
	address string
	// room is the id of the process that keeps the mount namespace with the small disk.
	room int
	// disk is the folder of the small disk.
	disk string
	say  func(format string, args ...any)

	mu       sync.Mutex
	process  *testenv.Process
	down     time.Duration
	stopping bool
	// ends counts how often the process ended, and of these by itself.
	ends, byItself int
	ended          chan struct{}
}

// binary is the reconciler that make built.
func binary() string { return filepath.Join(root(), "bin", "reconciler") }

func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// diskSize is the size of a server's working directory: enough for its mirrors, and soon full.
const diskSize = "192m"

// furnish mounts a small file system for the server's working directory in a mount namespace of its own, which lives as
// long as the process that holds it.
func (r *replica) furnish() (end func(), err error) {
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o mode=755,size=`+diskSize+` tmpfs "$1" && echo ready && exec sleep infinity`, "sh", r.disk)
	cmd.SysProcAttr = child.Attributes(syscall.SIGKILL)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	room, err := testenv.StartProcess(cmd)
	if err != nil {
		return nil, err
	}
	end = func() { _ = room.End(syscall.SIGKILL, stopLimit) }
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		end()
		return nil, fmt.Errorf("mount a small disk, for which users must be let have namespaces: %w", err)
	}
	r.room = room.ID()
	return end, nil
}

// run keeps the server running until stop.
func (r *replica) run() {
	r.ended = make(chan struct{})
	go func() {
		defer close(r.ended)
		for r.once() {
			r.mu.Lock()
			pause := max(restartPause, r.down)
			r.down = 0
			r.mu.Unlock()
			<-time.After(pause)
		}
	}()
}

// once runs the process once and says whether it is to be started again.
func (r *replica) once() bool {
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.say("%s: %v", r.name, err)
		return false
	}
	defer log.Close()
	cmd := exec.Command("nsenter", "--target", fmt.Sprint(r.room), "--user", "--mount", "--preserve-credentials",
		"setpriv", "--pdeathsig", "KILL", binary(), "serve", "--config", r.config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = child.Attributes(syscall.SIGKILL)
	r.mu.Lock()
	if r.stopping {
		r.mu.Unlock()
		return false
	}
	process, err := testenv.StartProcess(cmd)
	if err != nil {
		r.mu.Unlock()
		r.say("%s: %v", r.name, err)
		return false
	}
	r.process = process
	r.mu.Unlock()
	<-process.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = nil
	r.ends++
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !r.stopping && (!ok || !status.Signaled()) {
		r.byItself++
		r.say("%s ended by itself: %s: %s", r.name, cmd.ProcessState, lastLine(r.log))
	}
	return !r.stopping
}

func lastLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// signal sends a signal to the process, if there is one.
func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		_ = r.process.Signal(s) // it may just have ended
	}
}

// kill kills the process and has it started again after a time.
func (r *replica) kill(down time.Duration) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	r.signal(syscall.SIGKILL)
}

// stop ends the process for good.
func (r *replica) stop() {
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	r.signal(syscall.SIGCONT)
	r.signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(stopLimit):
		r.signal(syscall.SIGKILL)
		<-r.ended
	}
}

func (r *replica) filler() string {
	return filepath.Join("/proc", fmt.Sprint(r.room), "root", r.disk, "filler")
}

// fill fills the disk.
func (r *replica) fill() error {
	file, err := os.Create(r.filler())
	if err != nil {
		return err
	}
	defer file.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := file.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}
