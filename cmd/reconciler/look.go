package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/server"
)

// query makes a command that reads a list from the server and prints it.
func query[T any](use, short, path string, filters []string, table func([]T) [][]string) *cobra.Command {
	var flags clientFlags
	var format outputFlag
	values := map[string]*string{}
	c := &cobra.Command{
		Use: use, Short: short, Args: noArguments, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			client, err := flags.client()
			if err != nil {
				return err
			}
			params := map[string]string{}
			for k, v := range values {
				params[k] = *v
			}
			list, err := get[[]T](c.Context(), client, path, params)
			if err != nil {
				return err
			}
			return write(c.OutOrStdout(), format, list, table)
		},
	}
	for _, f := range filters {
		values[f] = c.Flags().String(f, "", "only those of this "+f)
	}
	flags.register(c)
	format.register(c)
	return c
}

func newApps() *cobra.Command {
	c := query("apps", "List applications", "/applications", []string{"environment", "repository"}, func(list []server.Application) [][]string {
		rows := [][]string{{"ENVIRONMENT", "APPLICATION", "STATE", "DESIRED", "APPLIED", "COMMIT", "SCORE FILE"}}
		for _, a := range list {
			rows = append(rows, []string{a.Environment, a.Name, a.State, fmt.Sprint(a.Generation), fmt.Sprint(a.Applied), short(a.Commit), a.Repository + ":" + a.Path})
		}
		return rows
	})
	c.Aliases = []string{"applications"}
	return c
}

func newEnvironments() *cobra.Command {
	return query("environments", "List environments", "/environments", nil, func(list []server.Environment) [][]string {
		rows := [][]string{{"ENVIRONMENT", "NAMESPACE", "CONFIRM DELETES", "TARGET"}}
		for _, e := range list {
			rows = append(rows, []string{e.Name, dash(e.Namespace), e.ConfirmDeletes, e.Target})
		}
		return rows
	})
}

func newRepositories() *cobra.Command {
	return query("repositories", "List repositories that are watched", "/repositories", nil, func(list []server.Repository) [][]string {
		rows := [][]string{{"REPOSITORY", "FORGE", "BRANCHES", "LOOKED AT", "PROBLEM"}}
		for _, r := range list {
			var branches []string
			for b, e := range r.Branches {
				branches = append(branches, b+"→"+strings.Join(e, ","))
			}
			sort.Strings(branches)
			looked, problem := "-", "-"
			if r.PolledAt != nil {
				looked = r.PolledAt.UTC().Format(time.DateTime)
			}
			switch {
			case r.Fault != nil:
				problem = r.Fault.Error()
			case r.InvalidFiles == 1:
				problem = "1 invalid file"
			case r.InvalidFiles > 1:
				problem = fmt.Sprintf("%d invalid files", r.InvalidFiles)
			}
			rows = append(rows, []string{r.Name, dash(r.Forge), strings.Join(branches, " "), looked, problem})
		}
		return rows
	})
}

func newPlans() *cobra.Command {
	c := query("plans", "List plans, the newest first", "/plans", []string{"environment", "repository", "application", "limit"}, func(list []server.Plan) [][]string {
		rows := [][]string{{"PLAN", "ENVIRONMENT", "APPLICATION", "COMMIT", "PULL", "CONFIRMED BY", "MADE"}}
		for _, p := range list {
			pull, by := "-", "-"
			if p.Pull != nil {
				pull = fmt.Sprintf("#%d", *p.Pull)
			}
			if p.ConfirmedBy != nil {
				by = *p.ConfirmedBy
			}
			rows = append(rows, []string{p.ID, p.Environment, p.Application, short(p.Commit), pull, by, p.CreatedAt.UTC().Format(time.DateTime)})
		}
		return rows
	})
	c.AddCommand(newPlansShow(), newPlansConfirm())
	return c
}

func newRuns() *cobra.Command {
	c := query("runs", "List runs, the newest first", "/runs", []string{"environment", "repository", "application", "commit", "limit"}, runRows)
	c.AddCommand(newRunsShow(), newRunsPause(), newRunsResume(), newRunsArtefact())
	return c
}

func runRows(list []apply.Run) [][]string {
	rows := [][]string{{"RUN", "ENVIRONMENT", "APPLICATION", "GENERATION", "KIND", "STATE", "ATTEMPT", "WRITES", "COMMIT", "PROBLEM"}}
	for _, r := range list {
		problem := "-"
		if r.Fault != nil {
			problem = r.Fault.Error()
		}
		rows = append(rows, []string{fmt.Sprint(r.ID), r.Environment, r.Name, fmt.Sprint(r.Generation), string(r.Kind), string(r.State),
			fmt.Sprint(r.Attempt), fmt.Sprint(r.Writes), short(r.Commit), problem})
	}
	return rows
}

func newJobs() *cobra.Command {
	c := query("jobs", "List jobs of the queue, the newest first", "/jobs", []string{"kind", "key", "state", "limit"}, func(list []queue.Entry) [][]string {
		rows := [][]string{{"JOB", "KIND", "KEY", "STATE", "ATTEMPT", "RUNS AT", "LAST ERROR"}}
		for _, j := range list {
			last := "-"
			if n := len(j.Failures); n > 0 {
				last = j.Failures[n-1].Error
			}
			rows = append(rows, []string{fmt.Sprint(j.ID), j.Kind, j.Key, j.State.String(), fmt.Sprintf("%d/%d", j.Attempt, j.MaxAttempts), j.RunAt.UTC().Format(time.DateTime), last})
		}
		return rows
	})
	c.AddCommand(newJobsRetry(), newJobsCancel())
	return c
}

func newResources() *cobra.Command {
	c := query("resources", "List resources that are provisioned", "/resources", []string{"environment", "application"}, func(list []apply.Resource) [][]string {
		rows := [][]string{{"ENVIRONMENT", "RESOURCE", "DATA", "USED BY", "PROVISIONER", "OUTPUTS"}}
		for _, r := range list {
			var outputs []string
			for k, v := range r.Outputs {
				outputs = append(outputs, k+"="+v)
			}
			slices.Sort(outputs)
			data := "-"
			if r.Stateful {
				data = "yes"
			}
			rows = append(rows, []string{r.Environment, r.UID, data, strings.Join(r.Users, ","), r.Provisioner, strings.Join(outputs, " ")})
		}
		return rows
	})
	c.AddCommand(query("types", "List resource types that the platform can fulfil", "/resource-types", nil, func(list []server.ResourceType) [][]string {
		rows := [][]string{{"TYPE", "CLASS", "PARAMS", "OUTPUTS", "PROVISIONER"}}
		for _, t := range list {
			rows = append(rows, []string{t.Type, dash(t.Class), dash(strings.Join(t.Params, ",")), dash(strings.Join(t.Outputs, ",")), t.Provisioner})
		}
		return rows
	}))
	return c
}

// target is an application in an environment, as arguments name it.
type target struct {
	clientFlags
	environment environmentFlag
}

func (t *target) register(c *cobra.Command) {
	t.clientFlags.register(c)
	c.Flags().VarP(&t.environment, "environment", "e", "environment (default: the only one that has the application)")
}

// find returns a client and the API's path of an application; without an environment, the application must be in exactly
// one.
func (t *target) find(ctx context.Context, name string) (*client, string, error) {
	client, err := t.client()
	if err != nil {
		return nil, "", err
	}
	environment := string(t.environment)
	if environment == "" {
		list, err := get[[]server.Application](ctx, client, "/applications", nil)
		if err != nil {
			return nil, "", err
		}
		var in []string
		for _, a := range list {
			if a.Name == name {
				in = append(in, a.Environment)
			}
		}
		if environment, err = only(name, in); err != nil {
			return nil, "", err
		}
	}
	return client, "/applications/" + url.PathEscape(environment) + "/" + url.PathEscape(name), nil
}

func newReleases() *cobra.Command {
	var t target
	var format outputFlag
	c := &cobra.Command{
		Use: "releases APP", Short: "List an application's releases, the newest first", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			client, path, err := t.find(c.Context(), args[0])
			if err != nil {
				return err
			}
			list, err := get[[]server.Release](c.Context(), client, path+"/releases", nil)
			if err != nil {
				return err
			}
			return write(c.OutOrStdout(), format, list, releaseRows)
		},
	}
	t.register(c)
	format.register(c)
	return c
}

func releaseRows(list []server.Release) [][]string {
	rows := [][]string{{"GENERATION", "CAUSE", "CONTENT", "COMMIT", "PLAN", "MADE"}}
	for _, r := range list {
		cause, content := r.Cause, short(r.Digest)
		if r.Of != nil {
			cause += " to " + strconv.FormatInt(*r.Of, 10)
		}
		if content == "" {
			content = "removal"
		}
		rows = append(rows, []string{fmt.Sprint(r.Generation), cause, content, short(r.Commit), r.Plan, r.CreatedAt.UTC().Format(time.DateTime)})
	}
	return rows
}
