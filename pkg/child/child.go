// Package child starts processes that die with this one, however it dies.
package child

import "syscall"

// Attributes put a process into a group of its own, so that an interrupt typed at our terminal reaches only us and the whole
// group can be ended at once, and have the kernel send it a signal when we die. Only Linux has that: elsewhere a process whose
// parent was killed goes on.
func Attributes(onDeath syscall.Signal) *syscall.SysProcAttr { return attributes(onDeath) }
