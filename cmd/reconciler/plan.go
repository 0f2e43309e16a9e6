package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
)

// readLimited reads at most limit bytes and refuses more.
func readLimited(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fault.New(fault.FileUnreadable, "%w", err)
	}
	if int64(len(text)) > limit {
		return nil, fault.New(fault.FileUnreadable, "%w", errors.New("the file is larger than 2 MiB, which no Score file is"))
	}
	return text, nil
}

func newPlan() *cobra.Command {
	var flags clientFlags
	var local localPlan
	var repository string
	var offline, detailed bool
	var format outputFlag
	c := &cobra.Command{
		Use: "plan [PATH]", Short: "Show what a working copy would change, before it is committed", Args: cobra.MaximumNArgs(1),
		Long: `Show what a working copy would change. PATH is the root of the working copy (default: .).

With --offline, PATH is a Score file, and its workloads are compared with nothing: everything is new.`,
		RunE: func(c *cobra.Command, args []string) error {
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			var outcomes []status.Outcome
			var err error
			if offline {
				outcomes, err = planOffline(c, &local, path)
			} else {
				outcomes, err = planOnline(c, &flags, repository, string(local.environment), path)
			}
			if err != nil {
				return err
			}
			return printOutcomes(c, format, outcomes, detailed)
		},
	}
	flags.register(c)
	local.register(c)
	format.register(c)
	c.Flags().StringVar(&repository, "repository", "", "OWNER/NAME of the watched repository that the working copy belongs to")
	c.Flags().BoolVar(&offline, "offline", false, "plan the workloads of one Score file against nothing, without a server")
	c.Flags().BoolVar(&detailed, "detailed-exitcode", false, "exit with 3 if something would change")
	return c
}

func planOffline(c *cobra.Command, local *localPlan, path string) ([]status.Outcome, error) {
	b, err := local.build(c, path)
	if err != nil {
		return nil, err
	}
	var out []status.Outcome
	environment := string(local.environment)
	if len(b.faults) > 0 {
		out = append(out, status.Outcome{Application: path, Environment: environment, Path: path, Faults: b.faults})
	}
	for _, p := range b.planned {
		o := status.Outcome{Application: p.workload.Name, Environment: environment, Path: path, Faults: p.faults}
		if p.release != nil {
			o.Plan = planner.NewPlan(p.workload.Name, environment, b.platform.Digest, planner.Base{}, p.release)
		}
		out = append(out, o)
	}
	return out, nil
}

func planOnline(c *cobra.Command, flags *clientFlags, repository, environment, root string) ([]status.Outcome, error) {
	if environment == "" || repository == "" {
		return nil, fault.New(fault.UsageInvalid, "--repository and --environment say what the working copy is compared with").
			Do("Or use --offline to compare with nothing.")
	}
	client, err := flags.client()
	if err != nil {
		return nil, err
	}
	files, err := workingCopy(root)
	if err != nil {
		return nil, err
	}
	if err := sayUnknown(c, client, repository); err != nil {
		return nil, err
	}
	var out []status.Outcome
	return out, client.call(c.Context(), http.MethodPost, "/plan", server.PlanRequest{
		Repository: repository, Environment: environment, Files: files, Whole: true,
	}, &out)
}

// sayUnknown says that a repository is not watched: of such a one, everything is new.
func sayUnknown(c *cobra.Command, client *client, repository string) error {
	list, err := get[[]server.Repository](c.Context(), client, "/repositories", nil)
	if err != nil || slices.ContainsFunc(list, func(r server.Repository) bool { return r.Name == repository }) {
		return err
	}
	var names []string
	for _, r := range list {
		names = append(names, r.Name)
	}
	hint := ""
	if nearest := fault.Nearest(repository, names); nearest != "" {
		hint = fmt.Sprintf("; did you mean %s?", nearest)
	}
	say(c.ErrOrStderr(), "repository %s is not watched: it is planned as a new one%s", repository, hint)
	return nil
}

// printOutcomes prints plans and problems, and sets the exit code.
func printOutcomes(c *cobra.Command, format outputFlag, outcomes []status.Outcome, detailed bool) error {
	w := c.OutOrStdout()
	if format != "table" {
		if err := write(w, format, outcomes, nil); err != nil {
			return err
		}
	}
	changes, failed := 0, 0
	for _, o := range outcomes {
		switch {
		case o.Faults.Err() != nil:
			failed++
		case o.Plan != nil && !o.Plan.Empty():
			changes++
		}
		if format == "table" && o.Changes() {
			printOutcome(w, o)
		}
	}
	if format == "table" {
		fmt.Fprintf(w, "%d of %d applications change, %d invalid\n", changes, len(outcomes), failed)
	}
	switch {
	case failed > 0:
		return exit(exitFailed)
	case detailed && changes > 0:
		return exit(exitChanges)
	default:
		return nil
	}
}

func printOutcome(w io.Writer, o status.Outcome) {
	title := fmt.Sprintf("%s → %s", o.Application, dash(o.Environment))
	if o.Plan != nil {
		title += fmt.Sprintf("  plan %s  %s", o.Plan.ID, o.Plan.Summary)
	}
	say(w, "%s", title)
	if len(o.Faults) > 0 {
		fmt.Fprint(w, status.PlainFaults(o.Faults))
	}
	if o.Plan != nil {
		fmt.Fprint(w, status.Words(o.Plan))
		for _, object := range o.Plan.Objects {
			say(w, "  %s %s %s", object.Action, object.Kind, object.Name)
		}
	}
	fmt.Fprintln(w)
}
