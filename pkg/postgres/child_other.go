//go:build unix && !linux

package postgres

import "syscall"

// childAttributes puts the child into a process group of its own. Only Linux has a parent-death signal: elsewhere a
// server whose parent was killed goes on, and the next start says that the directory is in use.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func usersOf(string) []int { return nil }

const knowsUsers = false
