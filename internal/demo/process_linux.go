package demo

import "syscall"

// processAttributes let the server die with us, however that happens, and keep Ctrl-C from reaching it before us.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
