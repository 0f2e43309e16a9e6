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
		"LD_PRELOAD=" + Tool(t, "usr/lib/*/faketime/libfaketime.so.1"), "FAKETIME_TIMESTAMP_FILE=" + path, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
	}}
	must(t, c.Set(0))
	return c
}

// Set has the clock go wrong by an offset, at once.
func (c *Clock) Set(offset time.Duration) error {
	making := c.path + ".making"
	if err := os.WriteFile(making, fmt.Appendf(nil, "%+d", int(offset.Seconds())), 0o644); err != nil {
		return err
	}
	// Whoever looks sees the old or the new offset.
	return os.Rename(making, c.path)
}
