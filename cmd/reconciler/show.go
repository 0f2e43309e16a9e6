package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
)

// only returns the one environment that has an application.
func only(name string, environments []string) (string, error) {
	switch len(environments) {
	case 1:
		return environments[0], nil
	case 0:
		return "", fault.New(fault.AppUnknown, "no application %q is known", name)
	default:
		return "", fault.New(fault.UsageInvalid, "%s is in several environments", name).
			Do("Say which with -e: %s.", strings.Join(environments, ", "))
	}
}

// show makes a command that reads one thing, which its arguments name, and prints it.
func show[T any](use, short, path string, args cobra.PositionalArgs, text func(io.Writer, T) error) *cobra.Command {
	var flags clientFlags
	var format outputFlag
	c := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			value, err := get[T](c.Context(), client, fmt.Sprintf(path, url.PathEscape(args[0])), nil)
			if err != nil {
				return err
			}
			if format == "table" {
				return text(c.OutOrStdout(), value)
			}
			return write(c.OutOrStdout(), format, value, nil)
		},
	}
	flags.register(c)
	format.register(c)
	return c
}

func newPlansShow() *cobra.Command {
	return show("show PLAN", "Show what a plan changes", "/plans/%s", cobra.ExactArgs(1), func(w io.Writer, p server.Plan) error {
		say(w, "plan %s of %s in %s: %s", p.ID, p.Application, p.Environment, p.Plan.Summary)
		_, err := fmt.Fprintf(w, "%s%s", status.Words(p.Plan), status.Objects(p.Plan))
		return err
	})
}

// act makes a command that posts to the server and says what happened.
func act(use, short, path, said string, args cobra.PositionalArgs) *cobra.Command {
	var flags clientFlags
	c := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			if err := client.call(c.Context(), http.MethodPost, fmt.Sprintf(path, url.PathEscape(args[0])), nil, nil); err != nil {
				return err
			}
			say(c.OutOrStdout(), said, args[0])
			return nil
		},
	}
	flags.register(c)
	return c
}

func newPlansConfirm() *cobra.Command {
	return act("confirm PLAN", "Let a plan that waits be applied", "/plans/%s/confirm", "plan %s is confirmed; it is applied if nothing else has changed", cobra.ExactArgs(1))
}

func newJobsRetry() *cobra.Command {
	return act("retry JOB", "Try a dead job again", "/jobs/%s/retry", "job %s is tried again", oneNumber("JOB"))
}

func newJobsCancel() *cobra.Command {
	return act("cancel JOB", "Cancel a job", "/jobs/%s/cancel", "job %s is cancelled", oneNumber("JOB"))
}

// actOn makes a command that posts to an application.
func actOn(use, short, verb string, body func(c *cobra.Command) any, say func(w io.Writer, name string, run *apply.Run)) *cobra.Command {
	var t target
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, path, err := t.find(c.Context(), args[0])
			if err != nil {
				return err
			}
			run := &apply.Run{}
			if err := client.call(c.Context(), http.MethodPost, path+"/"+verb, body(c), run); err != nil {
				return err
			}
			say(c.OutOrStdout(), args[0], run)
			return nil
		},
	}
	t.register(c)
	return c
}

func nothing(*cobra.Command) any { return nil }

func newRollback() *cobra.Command {
	var generation int64
	var confirm string
	c := actOn("rollback APP", "Apply an earlier release again and hold the application", "rollback",
		func(*cobra.Command) any { return server.RollbackRequest{Generation: generation, Confirm: confirm} },
		func(w io.Writer, name string, run *apply.Run) {
			say(w, "%s goes back as generation %d (run %d); it is on hold until `reconciler resume %s`", name, run.Generation, run.ID, name)
		})
	c.Flags().Int64Var(&generation, "to", 0, "generation to go back to (default: the last one with other content that succeeded)")
	c.Flags().StringVar(&confirm, "confirm", "", "id of the rollback's plan, where it deletes data")
	return c
}

func newHold() *cobra.Command {
	var reason string
	c := actOn("hold APP", "Stop automatic deployment of an application", "hold",
		func(*cobra.Command) any { return server.HoldRequest{Reason: reason} },
		func(w io.Writer, name string, _ *apply.Run) { say(w, "%s is on hold: %s", name, reason) })
	c.Flags().StringVar(&reason, "reason", "", "why, for everybody to read")
	_ = c.MarkFlagRequired("reason") // the flag exists
	return c
}

func newResume() *cobra.Command {
	return actOn("resume APP", "Lift a hold and deploy what the branch says", "resume", nothing,
		func(w io.Writer, name string, _ *apply.Run) {
			say(w, "%s is deployed from its branch again", name)
		})
}

func newRetry() *cobra.Command {
	return actOn("retry APP", "Try a failed release again", "retry", nothing,
		func(w io.Writer, name string, run *apply.Run) {
			say(w, "%s is tried again as generation %d (run %d)", name, run.Generation, run.ID)
		})
}

// pause waits, or returns why it was stopped.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func newWatch() *cobra.Command {
	var t target
	c := &cobra.Command{
		Use: "watch APP", Short: "Follow an application until its newest release is deployed or failed", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, path, err := t.find(c.Context(), args[0])
			if err != nil {
				return err
			}
			return watch(c.Context(), client, c.OutOrStdout(), path)
		},
	}
	t.register(c)
	return c
}

func watch(ctx context.Context, client *client, w io.Writer, path string) error {
	last := ""
	for {
		a, err := get[server.Application](ctx, client, path, nil)
		if err != nil {
			return err
		}
		now := fmt.Sprintf("%s in %s: %s, generation %d desired, %d applied", a.Name, a.Environment, a.State, a.Generation, a.Applied)
		if now != last {
			say(w, "%s", now)
			last = now
		}
		switch a.State {
		case "deployed":
			return nil
		case "failed", "invalid", "waiting", "asking", "held":
			return exit(exitFailed)
		}
		if err := pause(ctx, refresh); err != nil {
			return err
		}
	}
}
