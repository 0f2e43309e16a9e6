package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/queue"
)

func newQueue() *cobra.Command {
	c := query("queue", "Show how each kind of jobs does, and what is paused", "/queue", nil, func(list []queue.KindStatus) [][]string {
		rows := [][]string{{"KIND", "READY", "BLOCKED", "RUNNING", "OLDEST", "PAUSED"}}
		for _, k := range list {
			oldest := time.Duration(k.OldestSeconds * float64(time.Second)).Round(time.Second)
			rows = append(rows, []string{k.Kind, fmt.Sprint(k.Ready), fmt.Sprint(k.Blocked), fmt.Sprint(k.Running), oldest.String(), paused(k.Pause)})
		}
		return rows
	})
	c.AddCommand(newQueuePause(), newQueueResume())
	return c
}

func paused(p *queue.Pause) string {
	if p == nil {
		return "-"
	}
	all := ""
	if p.Kind == "" {
		all = "with all others "
	}
	return fmt.Sprintf("%sby %s since %s: %s", all, p.By, p.At.UTC().Format(time.DateTime), p.Reason)
}

// kindOf is the optional argument KIND in the words of the answer.
func kindOf(args []string) (kind, words string) {
	if len(args) == 0 {
		return "", "all jobs"
	}
	return args[0], args[0] + " jobs"
}

func newQueuePause() *cobra.Command {
	var flags clientFlags
	var reason string
	c := &cobra.Command{
		Use: "pause [KIND]", Short: "Start no jobs, or none of a kind, until somebody resumes; those that run go on", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			kind, words := kindOf(args)
			if err := client.call(c.Context(), http.MethodPost, "/queue/pause", map[string]string{"kind": kind, "reason": reason}, nil); err != nil {
				return err
			}
			say(c.OutOrStdout(), "%s are paused: %s", words, reason)
			return nil
		},
	}
	c.Flags().StringVar(&reason, "reason", "", "why, for those who wonder")
	_ = c.MarkFlagRequired("reason") // It fails for flags that are not there only.
	flags.register(c)
	return c
}

func newQueueResume() *cobra.Command {
	var flags clientFlags
	c := &cobra.Command{
		Use: "resume [KIND]", Short: "End a pause of all jobs, or of a kind", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			kind, words := kindOf(args)
			if err := client.call(c.Context(), http.MethodPost, "/queue/resume", map[string]string{"kind": kind}, nil); err != nil {
				return err
			}
			say(c.OutOrStdout(), "%s are started again", words)
			return nil
		},
	}
	flags.register(c)
	return c
}
