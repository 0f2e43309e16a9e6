//go:build !linux

package demo

import "syscall"

// processAttributes keep Ctrl-C from reaching the server before us.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
