//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/child"
	"github.com/innominatus/reconciler/pkg/server"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	// patience bounds the wait for one state: what is waited for takes a second or two on a quiet machine.
	patience = 90 * time.Second
	// look is how often a state is asked for.
	look     = 100 * time.Millisecond
	instance = "e2e"
	secret   = "the webhook's secret"
)

// world is a Gitea with an application and a deployment repository, and a reconciler that watches them.
type world struct {
	*testing.T
	gitea       *testenv.GiteaServer
	app, deploy testenv.Repo
	// toGitea is the proxy to Gitea, if there is one.
	toGitea *testenv.ToxicProxy
	dir     string
	base    string
	token   string
	process *testenv.Process
	// database is the URL of the server's database.
	database string
	// binary is the server's program.
	binary string
	// interrupt is called before something is done that brings the server to a gate, and what it returns right after.
	interrupt func(gate) (strike func())
}

// options change what a world is like.
type options struct {
	// environment replaces the environment's file; %s is the deployment repository's URL.
	environment string
	// more is added to the server's configuration.
	more string
	// platform are further files of the platform configuration.
	platform map[string]string
	// binary is another server's than the one that make built.
	binary string
	// poll is how often the application's repository is looked at without being asked; "" is 2s.
	poll string
	// proxied puts a proxy between the server and Gitea.
	proxied bool
	// pooled puts a PgBouncer in transaction mode between the server and its database.
	pooled bool
}

const defaultEnvironment = `
namespace: shop
target:
  gitops:
    repository: %s
    forge: gitea
    secrets: secrets
    argocd: {}
`

func newWorld(t *testing.T, o options) *world {
	t.Helper()
	w := &world{T: t, gitea: testenv.Gitea(t), database: testenv.Postgres(t), binary: o.binary, interrupt: func(gate) func() { return func() {} }}
	if w.binary == "" {
		w.binary = binary(t)
	} else {
		w.emptyDatabase() // it has a schema of its own
	}
	org := w.gitea.NewOrg(t)
	w.app, w.deploy = w.gitea.NewRepo(t, org, true), w.gitea.NewRepo(t, org, true)
	forge := w.gitea.URL
	if o.proxied {
		w.toGitea = testenv.NewToxicProxy(t, strings.TrimPrefix(w.gitea.URL, "http://"))
		forge = "http://" + w.toGitea.Address
		w.app.URL, w.deploy.URL = strings.Replace(w.app.URL, w.gitea.URL, forge, 1), strings.Replace(w.deploy.URL, w.gitea.URL, forge, 1)
	}
	// Not t.TempDir: its parents are closed to other users, and its name is long.
	dir, err := os.MkdirTemp("", "reconciler-e2e-")
	w.must(err)
	w.dir = dir
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address := testenv.FreeAddress(t)
	w.base = "http://" + address
	if o.environment == "" {
		o.environment = defaultEnvironment
	}
	w.write("platform/environments/production.yaml", strings.ReplaceAll(o.environment, "%s", w.deploy.URL))
	for name, content := range o.platform {
		w.write("platform/"+name, content)
	}
	w.write("token.gitea", w.gitea.Bot.Token)
	w.write("secret", secret)
	database := "{url: {file: database}}"
	if o.pooled {
		database = w.pool()
	}
	w.write("database", w.database)
	w.write("reconciler.yaml", fmt.Sprintf(`
instance: %s
data: data
database: %s
server: {listen: %s}
platform: {directory: platform, poll: 1s}
forges:
  gitea:
    kind: gitea
    url: %s
    username: %s
    token: {file: token.gitea}
    webhookSecret: {file: secret}
repositories:
  - name: %s
    url: %s
    forge: gitea
    branches: {main: [production]}
    poll: %s
queue: {lease: 3s}
log: {format: json, level: info}
%s`, instance, database, address, forge, w.gitea.Bot.Login, w.app.FullName(), w.app.URL, cmp.Or(o.poll, "2s"), o.more))
	t.Cleanup(w.showLogs)
	w.start()
	t.Cleanup(func() { w.stop(os.Interrupt) })
	out, err := w.reconciler("token", "create", "e2e", "--config", w.path("reconciler.yaml"))
	w.must(err)
	w.token = strings.TrimSpace(out)
	w.gitea.AddHook(t, w.app, w.base+"/webhooks/gitea", secret)
	return w
}

func (w *world) emptyDatabase() {
	w.Helper()
	_ = w.rows("DROP SCHEMA public CASCADE")
	_ = w.rows("CREATE SCHEMA public")
}

// rows asks the server's database for texts.
func (w *world) rows(sql string, args ...any) []string {
	w.Helper()
	db, err := pgx.Connect(w.Context(), w.database)
	w.must(err)
	defer db.Close(context.WithoutCancel(w.Context()))
	rows, err := db.Query(w.Context(), sql, args...)
	w.must(err)
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	w.must(err)
	return list
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) path(parts ...string) string {
	return filepath.Join(append([]string{w.dir}, parts...)...)
}

func (w *world) write(name, content string) {
	w.Helper()
	w.must(os.MkdirAll(filepath.Dir(w.path(name)), 0o755))
	w.must(os.WriteFile(w.path(name), []byte(content), 0o600))
}

// binary is the reconciler that make built.
func binary(t testing.TB) string {
	path, err := filepath.Abs("../../bin/reconciler")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run make build", err)
	}
	return path
}

// start starts the server and waits until it is ready.
func (w *world) start() {
	w.Helper()
	w.process = w.serve(w.binary, "reconciler", w.base)
}

// stop ends the server by a signal and waits for it.
func (w *world) stop(signal os.Signal) {
	if w.process == nil {
		return
	}
	if err := w.process.End(signal, patience); err != nil {
		w.Error(err)
	}
	w.process = nil
}

// serve starts a binary with the configuration NAME.yaml and waits until it is ready at base. Its log is NAME.log.
func (w *world) serve(binary, name, base string) *testenv.Process {
	w.Helper()
	log, err := os.OpenFile(w.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	defer log.Close()
	cmd := exec.Command(binary, "serve", "--config", w.path(name+".yaml"))
	cmd.Stderr, cmd.Stdout = log, log
	cmd.SysProcAttr = child.Attributes(syscall.SIGKILL)
	process, err := testenv.StartProcess(cmd)
	w.must(err)
	w.Cleanup(func() { _ = process.End(os.Kill, patience) }) // It has ended unless the test broke off.
	w.until(name+" to be ready", func() (bool, string) {
		response, err := http.Get(base + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status
	})
	return process
}

// showLogs prints the ends of the servers' logs of a failed test.
func (w *world) showLogs() {
	if !w.Failed() {
		return
	}
	names, _ := filepath.Glob(w.path("*.log")) // Only a malformed pattern gives an error.
	for _, name := range names {
		text, _ := os.ReadFile(name)
		lines := strings.Split(string(text), "\n")
		w.Logf("%s ends with:\n%s", filepath.Base(name), strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// until asks until the answer is yes, and fails the test with the last answer when patience ends.
func (w *world) until(what string, ask func() (bool, string)) {
	w.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		ok, last := ask()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			w.Fatalf("waited for %s: %s", what, last)
		}
	}
}

// reconciler runs the CLI.
func (w *world) reconciler(args ...string) (string, error) {
	cmd := exec.Command(binary(w.T), args...)
	cmd.Env = append(os.Environ(), "RECONCILER_SERVER="+w.base, "RECONCILER_TOKEN="+w.token)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("reconciler %s: %w: %s", strings.Join(args, " "), err, problem.String())
	}
	return out.String(), nil
}

// api calls the API.
func (w *world) api(method, path string, in, out any) error {
	body, err := json.Marshal(in)
	w.must(err)
	request, err := http.NewRequest(method, w.base+"/api/v1"+path, bytes.NewReader(body))
	w.must(err)
	request.Header.Set("Authorization", "Bearer "+w.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return errors.New(string(text))
	}
	return json.Unmarshal(text, out)
}

// application returns an application of the environment; its state is "" while it is not known.
func (w *world) application(name string) server.Application {
	var a server.Application
	_ = w.api(http.MethodGet, "/applications/production/"+name, nil, &a) // not known yet
	return a
}

// waitDeployed waits until a commit is what is deployed of an application.
func (w *world) waitDeployed(name, commit string) server.Application {
	w.Helper()
	var a server.Application
	w.until(fmt.Sprintf("%s to be deployed from %.7s", name, commit), func() (bool, string) {
		a = w.application(name)
		return a.State == "deployed" && a.Commit == commit && a.Applied == a.Generation, fmt.Sprintf("%s at %.7s, generation %d applied %d", a.State, a.Commit, a.Generation, a.Applied)
	})
	return a
}

// waitStatus waits for a state of our status on a commit.
func (w *world) waitStatus(commit, state string) testenv.Status {
	w.Helper()
	var s testenv.Status
	w.until(fmt.Sprintf("status %s on %.7s", state, commit), func() (bool, string) {
		s = w.gitea.Statuses(w.T, w.app, commit)["reconciler/"+instance+"/production"]
		return s.State == state, fmt.Sprintf("it is %q: %s", s.State, s.Description)
	})
	return s
}

// waitComment waits until the one comment of ours on a pull request holds all the texts.
func (w *world) waitComment(number int64, texts ...string) testenv.Comment {
	w.Helper()
	var ours []testenv.Comment
	w.until(fmt.Sprintf("the comment to hold %q", texts), func() (bool, string) {
		ours = nil
		for _, c := range w.gitea.Comments(w.T, w.app, number) {
			if c.User.Login == w.gitea.Bot.Login {
				ours = append(ours, c)
			}
		}
		if len(ours) != 1 {
			return false, fmt.Sprintf("there are %d comments", len(ours))
		}
		for _, text := range texts {
			if !strings.Contains(ours[0].Body, text) {
				return false, ours[0].Body
			}
		}
		return true, ""
	})
	return ours[0]
}

// clone clones a repository and returns what runs git in it.
func (w *world) clone(r testenv.Repo) (git func(args ...string) string) {
	w.Helper()
	dir := w.TempDir()
	git = func(args ...string) string {
		w.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Dana", "-c", "user.email=dana@shop.example"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.Fatalf("git %v: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "--quiet", r.GitURL(w.gitea.Admin), ".")
	return git
}

// checkout returns the files of a branch of a repository by path.
func (w *world) checkout(r testenv.Repo) map[string]string {
	w.Helper()
	dir := w.TempDir()
	out, err := exec.Command("git", "clone", "--quiet", "--depth", "1", r.GitURL(w.gitea.Admin), dir).CombinedOutput()
	if err != nil {
		w.Fatalf("clone: %v: %s", err, out)
	}
	files := map[string]string{}
	w.must(filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == ".git" {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(name)
		relative, _ := filepath.Rel(dir, name)
		files[filepath.ToSlash(relative)] = string(content)
		return err
	}))
	return files
}

// commits returns the subjects of the deployment repository's commits, the oldest first.
func (w *world) commits() []string {
	w.Helper()
	var list []struct{ Commit struct{ Message string } }
	w.must(w.giteaGet("/repos/"+w.deploy.FullName()+"/commits?limit=50&stat=false&files=false", &list))
	var out []string
	for i := len(list) - 1; i >= 0; i-- {
		subject, _, _ := strings.Cut(list[i].Commit.Message, "\n")
		out = append(out, subject)
	}
	return out
}

// history returns the states that our status had on a commit, the oldest first.
func (w *world) history(commit string) []string {
	w.Helper()
	var list []testenv.Status
	w.must(w.giteaGet("/repos/"+w.app.FullName()+"/statuses/"+commit+"?sort=oldest&limit=50", &list))
	var out []string
	for _, s := range list {
		out = append(out, s.State)
	}
	return out
}

func (w *world) giteaGet(path string, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.gitea.URL+"/api/v1"+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "token "+w.gitea.Admin.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(out)
}
