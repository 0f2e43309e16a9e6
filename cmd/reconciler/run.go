package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/server"
)

func newRunsShow() *cobra.Command {
	return show("show RUN", "Show a run with its steps, approvals and artefacts", "/runs/%s", oneNumber("RUN"), func(w io.Writer, r server.Run) error {
		if err := writeTable(w, runRows([]apply.Run{r.Run})); err != nil {
			return err
		}
		if r.Waits != "" {
			say(w, "\nIt waits for %s", r.Waits)
		}
		rows := [][]string{{}, {"STEP", "STATE", "ATTEMPTS", "WHAT IT DID"}}
		for _, s := range r.Steps {
			rows = append(rows, []string{s.Name, stepState(s), fmt.Sprint(s.Attempt), stepDetail(s)})
		}
		if len(r.Approvals) > 0 {
			rows = append(rows, []string{}, []string{"STEP", "WHO", "SAID", "WHY"})
		}
		for _, a := range r.Approvals {
			said := "no"
			if a.Approved {
				said = "yes"
			}
			rows = append(rows, []string{a.Step, a.Who, said, a.Reason})
		}
		if len(r.Artefacts) > 0 {
			rows = append(rows, []string{}, []string{"STEP", "ARTEFACT", "BYTES", "KIND"})
		}
		for _, a := range r.Artefacts {
			size := fmt.Sprint(a.Size)
			if a.Cut {
				size += ", cut"
			}
			rows = append(rows, []string{a.Step, a.Name, size, a.MediaType})
		}
		return writeTable(w, rows)
	})
}

func stepState(s apply.Step) string {
	switch {
	case s.UndoneAt != nil:
		return string(s.State) + ", undone"
	case s.UndoFault != nil:
		return string(s.State) + ", not undone"
	default:
		return string(s.State)
	}
}

func stepDetail(s apply.Step) string {
	switch {
	case s.Fault != nil:
		return s.Fault.Error()
	case s.UndoFault != nil:
		return s.UndoFault.Error()
	default:
		return s.Detail
	}
}

func newRunsPause() *cobra.Command {
	return act("pause RUN", "Begin no further step of a run until it is resumed", "/runs/%s/pause", "run %s pauses when the steps at work have ended", oneNumber("RUN"))
}

func newRunsResume() *cobra.Command {
	return act("resume RUN", "Let a paused run go on", "/runs/%s/resume", "run %s goes on", oneNumber("RUN"))
}

func newRunsArtefact() *cobra.Command {
	var flags clientFlags
	c := &cobra.Command{
		Use: "artefact RUN STEP NAME", Short: "Print something that a step of a run left", Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			a, err := get[server.Artefact](c.Context(), client, "/runs/"+url.PathEscape(args[0])+"/artefact", map[string]string{"step": args[1], "name": args[2]})
			if err == nil {
				_, err = fmt.Fprint(c.OutOrStdout(), a.Content)
			}
			return err
		},
	}
	flags.register(c)
	return c
}

func newCancel() *cobra.Command {
	return act("cancel RUN", "Stop a run at its next safe point", "/runs/%s/cancel", "run %s stops", oneNumber("RUN"))
}

func newApprove() *cobra.Command {
	return decide("approve", "Approve a run that asks", "run %s is approved")
}

func newReject() *cobra.Command {
	return decide("reject", "Reject a run that asks: it fails", "run %s is rejected")
}

// decide makes a command that answers a step that asks.
func decide(verb, short, said string) *cobra.Command {
	var flags clientFlags
	var reason string
	c := &cobra.Command{
		Use: verb + " RUN [STEP]", Short: short, Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			in := server.ApprovalRequest{Reason: reason}
			if len(args) > 1 {
				in.Step = args[1]
			}
			if err := client.call(c.Context(), http.MethodPost, "/runs/"+url.PathEscape(args[0])+"/"+verb, in, nil); err != nil {
				return err
			}
			say(c.OutOrStdout(), said, args[0])
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for everybody to read")
	flags.register(c)
	return c
}

func newLogs() *cobra.Command {
	var flags clientFlags
	var follow bool
	c := &cobra.Command{
		Use: "logs RUN", Short: "Print a run's log", Args: oneNumber("RUN"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			return logs(c.Context(), client, c.OutOrStdout(), args[0], follow)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the run ends")
	flags.register(c)
	return c
}

// refresh is how often a command that follows something asks the server.
const refresh = 500 * time.Millisecond

func logs(ctx context.Context, client *client, w io.Writer, id string, follow bool) error {
	after := int64(0)
	for {
		// The state is asked before the lines: the last ones are not missed.
		run, err := get[server.Run](ctx, client, "/runs/"+id, nil)
		if err != nil {
			return err
		}
		for {
			lines, err := get[[]apply.LogLine](ctx, client, "/runs/"+id+"/logs", map[string]string{"after": strconv.FormatInt(after, 10)})
			if err != nil {
				return err
			}
			if len(lines) == 0 {
				break
			}
			for _, l := range lines {
				say(w, "%s %s: %s", l.At.UTC().Format(time.TimeOnly), l.Step, l.Message)
				after = l.ID
			}
		}
		if !follow || run.State.Final() {
			return nil
		}
		if err := pause(ctx, refresh); err != nil {
			return err
		}
	}
}
