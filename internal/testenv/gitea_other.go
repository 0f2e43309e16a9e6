//go:build unix && !linux

package testenv

import "syscall"

// childAttributes puts the server into a process group of its own. Only Linux has a parent-death signal: elsewhere the
// server of a killed test binary goes on until it is ended by hand.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
