package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Clock is the time of day as a [Server] sees it. Its monotonic clock is the machine's.
type Clock struct {
	path string
	// Env is for the [ServerConfig].
	Env []string
}

// NewClock makes a clock that shows the right time.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	path := filepath.Join(serverDirectory(t), "offset")
	c := &Clock{path: path, Env: []string{
		"LD_PRELOAD=" + Tool(t, "usr/lib/*/faketime/libfaketime.so.1"), "FAKETIME_TIMESTAMP_FILE=" + path,
		fmt.Sprintf("FAKETIME_CACHE_DURATION=%.0f", clockPeriod.Seconds()), "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}}
	must(t, c.write(0))
	return c
}

const (
	// clockPeriod is for how long a process takes its clock's offset as known, counted in whole seconds. Each look opens a file,
	// which nobody may do in the handler of a signal that comes while a file is opened; PostgreSQL asks for the time in its
	// handlers. With a look each time it is asked a backend hung within minutes; so it hardly ever does.
	clockPeriod = time.Second
	// clockSeen is when all processes have looked: they do when more than the period has passed in whole seconds.
	clockSeen = 2*clockPeriod + 200*time.Millisecond
)

// Set has the clock go wrong by an offset, and returns when all processes have seen it. Until then they disagree.
func (c *Clock) Set(offset time.Duration) error {
	err := c.write(offset)
	<-time.After(clockSeen)
	return err
}

func (c *Clock) write(offset time.Duration) error {
	making := c.path + ".making"
	if err := os.WriteFile(making, fmt.Appendf(nil, "%+d", int(offset.Seconds())), 0o644); err != nil {
		return err
	}
	// Whoever looks sees the old or the new offset.
	return os.Rename(making, c.path)
}
