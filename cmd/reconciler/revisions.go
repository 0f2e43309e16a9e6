package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/status"
)

// commitPrefix is a commit, or so much of its beginning that it is not another one by chance.
var commitPrefix = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

const (
	commitLength = 40
	// newestRevisions is how many are looked through for the beginning of a commit: the most that the API gives.
	newestRevisions = "500"
)

func newRevisions() *cobra.Command {
	var flags clientFlags
	var format outputFlag
	var limit int
	c := &cobra.Command{
		Use: "revisions REPOSITORY [COMMIT]", Short: "List what became of a repository's commits, the newest first", Args: revisionArguments,
		Long: `List what became of a repository's commits, the newest first. With a commit, of which the first 7 digits are enough, show each
of its applications, and what is wrong with its files.`,
		RunE: func(c *cobra.Command, args []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			path := "/revisions/" + args[0]
			if len(args) == 1 {
				list, err := get[[]reconcile.Summary](c.Context(), client, path, map[string]string{"limit": fmt.Sprint(limit)})
				if err != nil {
					return err
				}
				return write(c.OutOrStdout(), format, list, summaryRows)
			}
			list, err := revisions(c.Context(), client, path, args[1])
			if err != nil {
				return err
			}
			if format != "table" {
				return write(c.OutOrStdout(), format, list, nil)
			}
			return printRevisions(c.OutOrStdout(), list)
		},
	}
	flags.register(c)
	format.register(c)
	c.Flags().IntVar(&limit, "limit", 50, "how many at most, 1 to "+newestRevisions)
	return c
}

func revisionArguments(c *cobra.Command, args []string) error {
	if err := cobra.RangeArgs(1, 2)(c, args); err != nil {
		return err
	}
	if !repositoryName.MatchString(args[0]) {
		return fmt.Errorf("takes OWNER/NAME as REPOSITORY, got %q", args[0])
	}
	if len(args) == 2 && !commitPrefix.MatchString(args[1]) {
		return fmt.Errorf("takes 7 to 40 hexadecimal digits as COMMIT, got %q", args[1])
	}
	return nil
}

func summaryRows(list []reconcile.Summary) [][]string {
	rows := [][]string{{"COMMIT", "REF", "ENVIRONMENT", "APPLICATIONS", "INVALID FILES", "WHEN"}}
	for _, r := range list {
		invalid := "-"
		if r.Invalid > 0 {
			invalid = fmt.Sprint(r.Invalid)
		}
		rows = append(rows, []string{short(r.Commit), r.Ref, r.Environment, fmt.Sprint(r.Applications), invalid, r.CreatedAt.UTC().Format(time.DateTime)})
	}
	return rows
}

// revisions returns what became of the commit that begins so.
func revisions(ctx context.Context, client *client, path, commit string) ([]reconcile.Revision, error) {
	if len(commit) < commitLength {
		list, err := get[[]reconcile.Summary](ctx, client, path, map[string]string{"limit": newestRevisions})
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if strings.HasPrefix(r.Commit, commit) {
				commit = r.Commit
				break
			}
		}
	}
	list, err := get[[]reconcile.Revision](ctx, client, path+"/"+url.PathEscape(commit), nil)
	if err == nil && len(list) == 0 {
		err = fault.New(fault.RevisionUnknown, "nothing is known about the commit %s", commit)
	}
	return list, err
}

func printRevisions(w io.Writer, list []reconcile.Revision) error {
	for i, r := range list {
		if i > 0 {
			fmt.Fprintln(w)
		}
		say(w, "%s at %s, %s → %s", r.Repository, short(r.Commit), r.Ref, r.Environment)
		rows := [][]string{{"APPLICATION", "SCORE FILE", "OUTCOME"}}
		var faults fault.List
		for _, o := range r.Outcomes {
			rows = append(rows, []string{o.Application, dash(o.Path), outcomeWords(o)})
			faults = append(faults, o.Faults...)
			for _, f := range []*fault.Fault{o.Waiting, o.Problem, o.NotUndone} {
				if f != nil {
					faults = append(faults, f)
				}
			}
		}
		if err := writeTable(w, rows); err != nil {
			return err
		}
		if len(faults) > 0 {
			fmt.Fprintln(w)
		}
		if err := fault.Print(w, faults); err != nil {
			return err
		}
	}
	return nil
}

// outcomeWords says in a few words what a commit means for an application.
func outcomeWords(o status.Outcome) string {
	switch {
	case o.Faults.Err() != nil:
		return "invalid"
	case o.State != "":
		return fmt.Sprintf("%s, generation %d", o.State, o.Generation)
	case o.KeptBack():
		return "waits for others"
	case o.Waiting != nil:
		return "waits for a person"
	case o.Held != "":
		return "on hold: " + o.Held
	case o.Plan != nil && !o.Plan.Empty():
		return fmt.Sprintf("plan %s: %s", o.Plan.ID, o.Plan.Summary)
	default:
		return "no change"
	}
}
