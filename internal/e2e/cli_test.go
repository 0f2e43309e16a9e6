//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/server"
)

// commandLine runs commands and remembers which.
type commandLine struct {
	*world
	ran [][]string
}

// ok runs a command that must end with 0 and say all the texts.
func (c *commandLine) ok(args []string, texts ...string) string {
	c.Helper()
	c.ran = append(c.ran, args)
	out, err := c.reconciler(args...)
	if err != nil {
		c.Errorf("%v: %s", err, out)
	}
	c.says(args, out, texts...)
	return out
}

func (c *commandLine) says(args []string, out string, texts ...string) {
	c.Helper()
	for _, text := range texts {
		if !strings.Contains(out, text) {
			c.Errorf("reconciler %s does not say %q:\n%s", strings.Join(args, " "), text, out)
		}
	}
}

// reads runs a command in all formats: the table must say the texts, JSON and YAML the same. It returns the JSON.
func (c *commandLine) reads(args []string, texts ...string) []byte {
	c.Helper()
	c.ok(args, texts...)
	c.ok(slices.Concat(args, []string{"-o", "table"}), texts...)
	var inJSON string
	// What is listed may move between two questions.
	c.until(strings.Join(args, " ")+" to say the same as json and yaml", func() (bool, string) {
		inJSON = c.ok(slices.Concat(args, []string{"-o", "json"}))
		inYAML := c.ok(slices.Concat(args, []string{"-o", "yaml"}))
		var fromJSON, fromYAML any
		if err := json.Unmarshal([]byte(inJSON), &fromJSON); err != nil {
			c.Fatalf("%v: not JSON: %v\n%s", args, err, inJSON)
		}
		if err := yaml.Unmarshal([]byte(inYAML), &fromYAML); err != nil {
			c.Fatalf("%v: not YAML: %v\n%s", args, err, inYAML)
		}
		if list, ok := fromJSON.([]any); ok && len(list) == 0 {
			c.Errorf("%v lists nothing, which shows nothing", args)
		}
		diff := cmp.Diff(fromJSON, fromYAML)
		return diff == "", diff
	})
	return []byte(inJSON)
}

// follow begins a command, waits until it says first, calls then, and waits for the command to end with 0 and last.
func (c *commandLine) follow(first, last string, then func(), args ...string) {
	c.Helper()
	c.ran = append(c.ran, args)
	ctx, cancel := context.WithTimeout(c.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(c.T), args...)
	cmd.Env = append(os.Environ(), "RECONCILER_SERVER="+c.base, "RECONCILER_TOKEN="+c.token)
	file, err := os.Create(c.path("follow-" + args[0]))
	c.must(err)
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	c.must(cmd.Start())
	said := func() string {
		text, err := os.ReadFile(file.Name())
		c.must(err)
		return string(text)
	}
	c.until(strings.Join(args, " ")+" to say "+first, func() (bool, string) { text := said(); return strings.Contains(text, first), text })
	then()
	if err := cmd.Wait(); err != nil {
		c.Errorf("reconciler %s: %v: %s", strings.Join(args, " "), err, said())
	}
	c.says(args, said(), last)
}

// code runs a command that must end with an exit code.
func (c *commandLine) code(want int, args ...string) {
	c.Helper()
	c.ran = append(c.ran, args)
	out, err := c.reconciler(args...)
	exit, failed := errors.AsType[*exec.ExitError](err)
	if !failed || exit.ExitCode() != want {
		c.Errorf("reconciler %s: %v, want exit code %d: %s", strings.Join(args, " "), err, want, out)
	}
}

// newest returns the newest run of an application.
func (c *commandLine) newest(app string) apply.Run {
	c.Helper()
	var runs []apply.Run
	c.must(c.api(http.MethodGet, "/runs?limit=1&application="+app, nil, &runs))
	return runs[0]
}

func (c *commandLine) waitState(app, state string) server.Application {
	c.Helper()
	var a server.Application
	c.until(app+" to be "+state, func() (bool, string) { a = c.application(app); return a.State == state, a.State })
	return a
}

// Every command of the help is run against a server that has something of each kind.
func TestStoryOfTheCommandLine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, options{environment: directoryEnvironment})
	c := &commandLine{world: w}
	config := []string{"--config", w.path("reconciler.yaml")}
	repository := w.app.FullName()

	t.Log("applications that are deployed, changed, held, waiting, failed")
	files := map[string]string{
		"shop/score.yaml": shop("shop:1", hostResource), "held/score.yaml": plainFile("held", "h:1"), "broken/score.yaml": plainFile("broken", "b:1"),
		"waits/score.yaml": plainFile("waits", "w:1") + "resources: {db: {type: postgres}}\n", "never/score.yaml": plainFile("never", "n:1"),
	}
	w.must(os.MkdirAll(w.path("data/target/never/never.deployment.apps.yaml/foreign"), 0o755))
	first := w.gitea.Commit(t, w.app, testenv.Change{Files: files})
	for _, app := range []string{"shop", "held", "broken", "waits"} {
		w.waitDeployed(app, first)
	}
	c.ok([]string{"hold", "held", "--reason", "the audit"}, "held is on hold: the audit")
	c.waitState("never", "failed")
	w.must(os.MkdirAll(w.path("data/target/broken/broken.service.yaml/foreign"), 0o755))
	files["shop/score.yaml"] = shop("shop:2", hostResource)
	files["waits/score.yaml"] = plainFile("waits", "w:1")
	files["broken/score.yaml"] = plainFile("broken", "b:2") + "service: {ports: {web: {port: 80}}}\n"
	second := w.gitea.Commit(t, w.app, testenv.Change{Files: files})
	w.waitDeployed("shop", second)
	waits := c.waitState("waits", "waiting")
	c.until("the rollback of broken", func() (bool, string) {
		r := c.newest("broken")
		return r.Kind == apply.Rollback && r.State.Final(), fmt.Sprint(r)
	})
	failed := w.application("broken").Generation - 1

	t.Log("a repository of which the forge knows nothing, so that a job is dead")
	ghost := w.gitea.NewRepo(t, w.app.Owner, false)
	w.gitea.Commit(t, ghost, testenv.Change{Files: map[string]string{"score.yaml": plainFile("ghost", "g:1")}})
	w.must(w.api(http.MethodPut, "/repositories", server.Repository{Name: "no/body", URL: ghost.URL, Forge: "gitea", Branches: map[string][]string{"main": {"production"}}}, &struct{}{}))
	var dead []queue.Entry
	w.until("a dead job", func() (bool, string) {
		err := w.api(http.MethodGet, "/jobs?state=dead&kind=report", nil, &dead)
		return err == nil && len(dead) > 0, fmt.Sprint(err)
	})

	w.settled()
	w.must(w.api(http.MethodGet, "/jobs?state=dead&kind=report", nil, &dead)) // the newest can be retried

	t.Log("an open pull request")
	w.gitea.Commit(t, w.app, testenv.Change{Branch: "more", From: "main", Files: map[string]string{"shop/score.yaml": shop("shop:3", hostResource)}})
	pull := w.gitea.OpenPull(t, w.app, "more", "main", "More")
	w.waitComment(pull.Number, "shop:2 → shop:3")

	t.Log("what is read")
	c.reads([]string{"apps"}, "ENVIRONMENT", "APPLICATION", "STATE", "shop", "deployed", "held", "waits", "waiting", "broken", "never", "failed", "ghost", repository+":shop/score.yaml")
	c.reads([]string{"apps", "--environment", "production", "--repository", repository}, "shop")
	c.reads([]string{"environments"}, "ENVIRONMENT", "NAMESPACE", "production", "shop")
	c.reads([]string{"repositories"}, "REPOSITORY", "PROBLEM", repository, "main→production", "no/body", "ORC-")
	c.reads([]string{"platform"}, "in force")
	c.reads([]string{"revisions", repository}, "COMMIT", second[:12], "production", "main", fmt.Sprintf("#%d", pull.Number))
	c.reads([]string{"revisions", repository, second}, "shop", "succeeded, generation 2")
	c.reads([]string{"plans"}, "PLAN", "CONFIRMED BY", waits.Waiting, fmt.Sprintf("#%d", pull.Number))
	c.reads([]string{"plans", "show", waits.Waiting}, "plan "+waits.Waiting+" of waits in production", "resources.db", "holds data")
	c.reads([]string{"releases", "shop"}, "GENERATION", "CAUSE", "commit", second[:12])
	c.reads([]string{"releases", "broken", "--environment", "production"}, "rollback to 1")
	c.reads([]string{"resources"}, "RESOURCE", "PROVISIONER", "postgres", "shop", "yes")
	c.reads([]string{"resources", "--application", "waits"}, "postgres", "waits")
	c.reads([]string{"resources", "types"}, "TYPE", "OUTPUTS", "postgres", "route", "host")
	c.reads([]string{"runs"}, "RUN", "GENERATION", "shop", "succeeded", "broken", "failed", "rollback")
	c.reads([]string{"runs", "--application", "shop", "--commit", second, "--limit", "5"}, "shop", second[:12])
	c.reads([]string{"runs", "show", fmt.Sprint(c.newest("shop").ID)}, "STEP", "deliver", "retire", "succeeded")
	c.reads([]string{"jobs"}, "JOB", "KIND", "LAST ERROR", "look", "report", "done")
	c.reads([]string{"jobs", "--state", "dead", "--limit", "5"}, "report", "dead", "no/body")
	c.reads([]string{"jobs", "--kind", "run", "--state", "done"}, "application/")
	c.ok([]string{"queue", "pause", "pull", "--reason", "the forge is slow"}, "pull jobs are paused: the forge is slow")
	c.reads([]string{"queue"}, "KIND", "OLDEST", "look", "maintenance", "by e2e since", "the forge is slow")
	c.ok([]string{"queue", "resume", "pull"}, "pull jobs are started again")
	c.code(1, "queue", "pause", "reprot", "--reason", "typing error")
	c.reads(slices.Concat([]string{"token", "list"}, config), "NAME", "SCOPES", "e2e", "admin")
	c.ok([]string{"logs", fmt.Sprint(c.newest("shop").ID)}, "resource")
	c.ok([]string{"runs", "artefact", fmt.Sprint(c.newest("shop").ID), "deliver", "files.txt"}, "shop/shop.deployment.apps.yaml")
	c.ok([]string{"watch", "shop"}, "shop in production: deployed, generation 2 desired, 2 applied")
	c.code(1, "watch", "held")
	c.code(1, "watch", "never")
	c.code(1, "watch", "waits")

	t.Log("a working copy")
	dir := w.path("copy")
	score := w.path("copy", "shop", "score.yaml")
	for path, content := range files {
		w.write("copy/"+path, content)
	}
	w.write("copy/shop/score.yaml", shop("shop:9", hostResource))
	w.write("copy/broken/score.yaml", plainFile("broken", "b:1"))
	online := []string{"plan", dir, "--repository", repository, "--environment", "production"}
	c.reads(online, "shop → production", "shop:2 → shop:9", "3 of 5 applications change")
	c.code(3, append(online, "--detailed-exitcode")...)
	c.reads([]string{"plan", "--offline", score}, "shop", "containers.main")
	c.ok([]string{"validate", score})
	c.ok([]string{"render", score}, "kind: Deployment", "image: shop:9")
	c.ok([]string{"fix", "--dry-run", score})

	t.Log("what acts")
	c.ok([]string{"plans", "confirm", waits.Waiting}, "is confirmed")
	w.waitDeployed("waits", second)
	c.ok([]string{"resume", "held"}, "held is deployed from its branch again")
	c.waitState("held", "deployed")
	c.ok([]string{"jobs", "retry", fmt.Sprint(dead[0].ID)}, fmt.Sprintf("job %d is tried again", dead[0].ID))
	var looks []queue.Entry
	w.until("a look that waits", func() (bool, string) {
		err := w.api(http.MethodGet, "/jobs?kind=look&state=live&key=repository/no/body", nil, &looks)
		return err == nil && len(looks) == 1 && looks[0].State == queue.Ready, fmt.Sprint(err)
	})
	c.ok([]string{"jobs", "cancel", fmt.Sprint(looks[0].ID)}, "is cancelled")
	c.ok([]string{"rollback", "shop"}, "shop goes back as generation 3", "reconciler resume shop")
	w.until("shop to be back", func() (bool, string) { a := w.application("shop"); return a.Applied == 3, a.State })
	c.ok([]string{"rollback", "shop", "--to", "2"}, "generation 4")
	w.until("shop to be forth", func() (bool, string) { a := w.application("shop"); return a.Applied == 4, a.State })
	c.ok([]string{"resume", "shop", "-e", "production"})
	c.waitState("shop", "deployed")

	t.Log("a run that is followed and one that is cancelled")
	w.must(os.RemoveAll(w.path("data/target/broken/broken.service.yaml")))
	arrived, open := w.close(beforeDelivery)
	out := c.ok([]string{"retry", "broken"}, "broken is tried again as generation "+fmt.Sprint(failed+2))
	arrived()
	running := c.newest("broken")
	if running.State != apply.Running {
		t.Errorf("the run is %s", running.State)
	}
	c.reads([]string{"apps"}, "deploying")
	c.reads([]string{"jobs", "--state", "live"}, "running")
	c.reads([]string{"runs", "show", fmt.Sprint(running.ID)}, "running", "waiting")
	c.follow("", "deliver", func() {
		c.follow("deploying", "deployed, generation", open, "watch", "broken")
	}, "logs", "--follow", fmt.Sprint(running.ID))
	c.says([]string{"retry"}, out, fmt.Sprintf("run %d", running.ID))
	arrived, open = w.close(beforeDelivery)
	files["broken/score.yaml"] = plainFile("broken", "b:4")
	w.gitea.Commit(t, w.app, testenv.Change{Files: files})
	arrived()
	running = c.newest("broken")
	c.ok([]string{"runs", "pause", fmt.Sprint(running.ID)}, "pauses")
	c.ok([]string{"runs", "resume", fmt.Sprint(running.ID)}, "goes on")
	c.code(1, "approve", fmt.Sprint(running.ID), "deliver")
	c.code(1, "reject", fmt.Sprint(running.ID))
	c.ok([]string{"cancel", fmt.Sprint(running.ID)}, "stops")
	open()
	w.until("the run to be cancelled", func() (bool, string) { r := c.newest("broken"); return r.State == apply.Cancelled, string(r.State) })

	t.Log("tokens, and the server's machine")
	value := strings.TrimSpace(c.ok(slices.Concat([]string{"token", "create", "reader", "--scope", "read", "--days", "1"}, config)))
	w.write("reader", value)
	c.ok([]string{"apps", "--server", w.base, "--token-file", w.path("reader")}, "shop")
	c.ok(slices.Concat([]string{"token", "list"}, config), "reader", "read")
	c.ok(slices.Concat([]string{"token", "revoke", "reader"}, config))
	c.code(1, "apps", "--token-file", w.path("reader"))
	c.ok(slices.Concat([]string{"doctor"}, config), "ok    configuration", "ok    database", "ok    server")
	c.ok(slices.Concat([]string{"migrate"}, config), "the database is up to date")
	c.ok([]string{"version", "--remote"}, "reconciler", "server")
	c.ok([]string{"completion", "bash"}, "reconciler")
	c.ok([]string{"help"}, "Acting:")
	c.complete(t)
}

// complete holds that every command of the reference was run; serve is what runs all the time.
func (c *commandLine) complete(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../../docs/cli.md")
	c.must(err)
	known := 0
	for line := range strings.Lines(string(page)) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "## reconciler ")
		if !ok {
			continue
		}
		known++
		words := strings.Fields(name)
		ran := slices.ContainsFunc(c.ran, func(args []string) bool { return len(args) >= len(words) && slices.Equal(args[:len(words)], words) })
		if !ran && name != "serve" && name != "demo" {
			t.Errorf("reconciler %s was not run", name)
		}
	}
	if known < 20 {
		t.Errorf("only %d commands are known", known)
	}
}
