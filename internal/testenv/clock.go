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
	t    testing.TB
	path string
	// Env is for the [ServerConfig].
	Env []string
}

// NewClock makes a clock that shows the right time.
func NewClock(t testing.TB) *Clock {
	t.Helper()
	path := filepath.Join(serverDirectory(t), "offset")
	c := &Clock{t: t, path: path, Env: []string{
		"LD_PRELOAD=" + Tool(t, "usr/lib/*/faketime/libfaketime.so.1"), "FAKETIME_TIMESTAMP_FILE=" + path, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}}
	c.Set(0)
	return c
}

// Set has the clock go wrong by an offset, at once.
func (c *Clock) Set(offset time.Duration) {
	c.t.Helper()
	making := c.path + ".making"
	if err := os.WriteFile(making, fmt.Appendf(nil, "%+d", int(offset.Seconds())), 0o644); err != nil {
		c.t.Fatal(err)
	}
	// Whoever looks sees the old or the new offset.
	if err := os.Rename(making, c.path); err != nil {
		c.t.Fatal(err)
	}
}
