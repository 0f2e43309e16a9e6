package postgres

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The lines of postmaster.pid that are read here, from 0 (PostgreSQL: src/include/utils/pidfile.h).
const (
	pidLine    = 0
	portLine   = 3
	statusLine = 7
)

// Running returns the URL of the embedded server that another process runs on a data directory; ok is false if none
// does. It is for commands that administrate a server while it runs, by the user who may read its password.
func Running(dir string) (url string, ok bool) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", false
	}
	c := &cluster{dir: dir}
	text, err := os.ReadFile(c.pidFile())
	if err != nil {
		return "", false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) <= statusLine || strings.TrimSpace(lines[statusLine]) != "ready" {
		return "", false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[pidLine]))
	if err != nil || !alive(pid) {
		return "", false
	}
	port, err := strconv.Atoi(strings.TrimSpace(lines[portLine]))
	if err != nil {
		return "", false
	}
	password, err := c.password()
	return c.url(port, password), err == nil
}
