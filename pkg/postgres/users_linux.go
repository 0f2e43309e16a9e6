package postgres

import (
	"os"
	"path/filepath"
	"strconv"
)

// usersOf returns the ids of processes whose working directory is dir: of a PostgreSQL server these are the postmaster
// and all of its children. Processes of other users, which we may not look at, do not count.
func usersOf(dir string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // No /proc: PostgreSQL's own check of its pid file has to do.
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue // Not a process.
		}
		if cwd, err := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd")); err == nil && cwd == dir {
			pids = append(pids, pid)
		}
	}
	return pids
}

// knowsUsers says that usersOf tells the whole truth about processes of our own user here.
const knowsUsers = true
