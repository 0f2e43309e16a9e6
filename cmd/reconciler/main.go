// Command reconciler turns Score files committed to Git into running workloads.
//
// This package is flags, configuration, wiring and commands; everything else is in the packages below pkg.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/innominatus/reconciler/pkg/fault"
)

// version is set by the build.
var version = "development"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// execute runs a command line and returns the exit code.
func execute(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code, faults := exitCode(err)
	if len(faults) > 0 {
		_ = fault.Print(root.ErrOrStderr(), faults) // nobody is left to tell if it fails
	}
	return code
}

// Exit codes; docs/cli.md lists them.
const (
	exitOK = 0
	// exitFailed: something that was asked for is wrong or failed.
	exitFailed = 1
	// exitUsage: the command line itself is wrong.
	exitUsage = 2
	// exitChanges: `plan --detailed-exitcode` found changes.
	exitChanges = 3
	// exitUnavailable: the server or what it needs cannot be reached.
	exitUnavailable = 4
	// exitInterrupted: a signal stopped the command.
	exitInterrupted = 130
)

// exit is an error that only sets the exit code: everything was said already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }
