package testenv

import "syscall"

// childAttributes puts the server into a process group of its own, so that it can be ended together with the git
// processes it started, and has the kernel end it when the test binary dies.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
