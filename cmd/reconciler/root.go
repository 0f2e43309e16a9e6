package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/server"
)

// newRoot makes the tree of commands.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "reconciler",
		Short: "Deploy Score workloads from Git, show the plan first, and roll back by a revert",
		Long: `reconciler turns Score files committed to Git into running workloads, and tells the people in the pull request
what it will do, what it did and how to undo it.

Exit codes: 0 done, 1 something is wrong or failed, 2 the command line is wrong, 3 there are changes
(plan --detailed-exitcode), 4 the server cannot be reached, 130 interrupted.`,
		Version:               version,
		SilenceUsage:          true,
		SilenceErrors:         true,
		DisableFlagsInUseLine: true,
		// Without a check and a run of its own, the library tells about unknown commands in its own words.
		Args: noArguments, RunE: help,
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.New(fault.UsageInvalid, "%w", err).Do("`%s --help` explains it.", c.CommandPath())
	})
	root.AddGroup(&cobra.Group{ID: "files", Title: "Score files, without a server:"},
		&cobra.Group{ID: "look", Title: "Looking:"}, &cobra.Group{ID: "act", Title: "Acting:"}, &cobra.Group{ID: "run", Title: "Running a server:"})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("files", newValidate(), newFix(), newRender())
	add("look", newApps(), newEnvironments(), newPlatform(), newRepositories(), newRevisions(), newReleases(), newPlan(), newPlans(), newRuns(), newLogs(), newJobs(), newQueue(), newResources(), newWatch())
	add("act", newRollback(), newHold(), newResume(), newRetry(), newApprove(), newReject(), newCancel())
	add("run", newServe(), newDemo(), newDoctor(), newToken(), newMigrate(), newVersion())
	root.AddCommand(newDocs())
	// The library adds its own commands late; made now, they are checked as ours are.
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	checkArguments(root)
	return root
}

// noArguments is for commands that take none.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("takes no arguments, got %q", args[0])
	}
	return nil
}

// help is what commands do that only have others below them.
func help(c *cobra.Command, _ []string) error { return c.Help() }

// oneNumber is for commands that take the number of something, which is called name in their usage.
func oneNumber(name string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if err := cobra.ExactArgs(1)(c, args); err != nil {
			return err
		}
		if _, err := strconv.ParseUint(args[0], 10, 63); err != nil {
			return fmt.Errorf("takes a number as %s, got %q", name, args[0])
		}
		return nil
	}
}

// checkArguments turns the errors of argument checks into faults, for every command below. What stands where a command
// with others below it takes nothing was meant to be one of those.
func checkArguments(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if len(args) > 0 && c.HasSubCommands() {
				return unknownCommand(c, args[0])
			}
			if err := check(c, args); err != nil {
				return fault.New(fault.UsageInvalid, "`%s` %w", c.CommandPath(), err).Do("Usage: %s", c.UseLine())
			}
			// The library asks this, too, but later, and nothing but its text would tell the answer from other errors.
			if err := c.ValidateRequiredFlags(); err != nil {
				return fault.New(fault.UsageInvalid, "`%s`: %w", c.CommandPath(), err).Do("Usage: %s", c.UseLine())
			}
			return nil
		}
	}
	for _, below := range c.Commands() {
		checkArguments(below)
	}
}

func unknownCommand(c *cobra.Command, word string) *fault.Fault {
	var names []string
	for _, below := range c.Commands() {
		if below.IsAvailableCommand() {
			names = append(append(names, below.Name()), below.Aliases...)
		}
	}
	return fault.New(fault.UsageInvalid, "`%s` has no command %q", c.CommandPath(), word).Suggest(fault.Nearest(word, names)).
		Do("`%s --help` lists the commands.", c.CommandPath())
}

// exitCode turns an error into an exit code and what is to be printed.
func exitCode(err error) (int, fault.List) {
	if code, ok := errors.AsType[exit](err); ok {
		return int(code), nil
	}
	if errors.Is(err, context.Canceled) {
		return exitInterrupted, nil
	}
	if p, ok := errors.AsType[*server.Problem](err); ok {
		return problemCode(p), problemFaults(p)
	}
	faults := fault.Of(err)
	switch faults[0].Code {
	case fault.UsageInvalid:
		return exitUsage, faults
	case fault.ServerAway, fault.DatabaseUnreachable:
		return exitUnavailable, faults
	default:
		return exitFailed, faults
	}
}

func problemCode(p *server.Problem) int {
	if p.Status == http.StatusServiceUnavailable {
		return exitUnavailable
	}
	return exitFailed
}

// problemFaults are the faults that the server found, or one for its answer.
func problemFaults(p *server.Problem) fault.List {
	if len(p.Faults) > 0 {
		return p.Faults
	}
	return fault.List{fault.New(p.Code, "%s", p.Detail).Do("%s", p.Remedy)}
}
