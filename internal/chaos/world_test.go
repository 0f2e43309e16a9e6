//go:build chaos

package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
)

const (
	instance = "chaos"
	secret   = "the webhook's secret"
	// lease is short, so that a stop of some seconds outlasts it.
	lease = 3 * time.Second
)

// environments by name: one of each target, and one with a golden path around it, for some repositories.
const (
	inGit    = "committed"
	inFolder = "written"
	guided   = "guided"
)

// world is everything that runs.
type world struct {
	*testing.T
	dir      string
	began    time.Time
	gitea    *testenv.GiteaServer
	apps     []testenv.Repo
	deploy   testenv.Repo
	database *testenv.Pair
	clock    *testenv.Clock // The database's.
	guide    *guide
	// toDatabase are the ways of each server to each node, toGitea and toOffice the one way of all to these.
	toDatabase [servers][2]*testenv.ToxicProxy
	toGitea    *testenv.ToxicProxy
	toOffice   *testenv.ToxicProxy
	replicas   [servers]*replica
	token      string
	log        *os.File
	counts     counter
	// asked is the server that people ask first: the one that answered last.
	asked int
	// confirmed are the plans that somebody tried to confirm, and resumed the names of the applications of which somebody tried to
	// lift the hold.
	confirmed map[string]bool
	resumed   map[string]bool
	// authors work on the repositories, in their order.
	authors []*author
}

// commonProvisioner makes what several applications share: one object.
const commonProvisioner = `
- uri: template://chaos/common
  type: common
  supported_params: []
  manifests: |
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: {{ printf "common-%s" .Id | quote }}}, data: {for: everybody}}
`

func newWorld(t *testing.T, seed uint64) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "reconciler-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, dir: dir, began: time.Now(), confirmed: map[string]bool{}, resumed: map[string]bool{}}
	w.must(os.Chmod(dir, 0o755))
	t.Cleanup(w.tidy)
	w.log, err = os.Create(w.path("log"))
	w.must(err)
	w.gitea, w.clock = testenv.Gitea(t), testenv.NewClock(t)
	// fsync=off: what a killed server had written is in the kernel's hands, and the kernel does not die here.
	w.database = testenv.NewPair(t, testenv.ServerConfig{Env: w.clock.Env, Settings: []string{"fsync=off", "jit=off", "max_connections=200"}})
	w.toGitea = testenv.NewToxicProxy(t, strings.TrimPrefix(w.gitea.URL, "http://"))
	org := w.gitea.NewOrg(t)
	w.deploy = w.gitea.NewRepo(t, org, true)
	for range repositories {
		w.apps = append(w.apps, w.gitea.NewRepo(t, org, true))
	}
	w.write("platform/environments/"+inGit+".yaml", fmt.Sprintf(
		"namespace: shop\ntarget:\n  gitops: {repository: %q, forge: gitea, secrets: %q, argocd: {}}\n", w.proxied(w.deploy), w.path("secrets")))
	w.write("platform/environments/"+inFolder+".yaml", fmt.Sprintf("namespace: shop\ntarget:\n  directory: {path: %q}\n", w.path("target")))
	w.write("platform/provisioners/common.provisioners.yaml", commonProvisioner)
	w.guide = newGuide(w, seed)
	w.write("token.gitea", w.gitea.Bot.Token)
	w.write("secret", secret)
	for i := range w.replicas {
		w.newReplica(i)
	}
	return w
}

// tidy removes the folder, or says where it is.
func (w *world) tidy() {
	_ = w.log.Close()
	if w.Failed() {
		w.Logf("logs and data are in %s", w.dir)
		return
	}
	w.must(os.RemoveAll(w.dir))
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
	w.must(os.WriteFile(w.path(name), []byte(content), 0o644))
}

// say writes a line into the log, with the time since the beginning, and shows it.
func (w *world) say(format string, args ...any) {
	line := fmt.Sprintf("%8.3f  %s", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
	fmt.Fprintln(w.log, line)
	w.Log(line)
}

// note writes a line into the log alone.
func (w *world) note(format string, args ...any) {
	fmt.Fprintf(w.log, "%8.3f  %s\n", time.Since(w.began).Seconds(), fmt.Sprintf(format, args...))
}

// git runs git in a folder.
func (w *world) git(dir string, args ...string) string {
	w.Helper()
	out, err := tryGit(dir, args...)
	w.must(err)
	return out
}

func tryGit(dir string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0", "GIT_CONFIG_GLOBAL=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %v in %s: %w: %s", args, dir, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// proxied returns a repository's URL as the servers reach it.
func (w *world) proxied(r testenv.Repo) string {
	return "http://" + w.toGitea.Address + "/" + r.FullName() + ".git"
}

// environments are those that a repository is deployed into.
func (w *world) environments(repository int) []string {
	if repository < guidedRepositories {
		return []string{inGit, inFolder, guided}
	}
	return []string{inGit, inFolder}
}

// newReplica writes the configuration of a server.
func (w *world) newReplica(i int) {
	w.Helper()
	name := fmt.Sprintf("server-%d", i)
	r := &replica{name: name, config: w.path(name, "reconciler.yaml"), log: w.path(name, "log"), address: testenv.FreeAddress(w.T), disk: w.path(name, "data"), say: w.say}
	w.must(os.MkdirAll(r.disk, 0o755))
	for node := range w.toDatabase[i] {
		w.toDatabase[i][node] = testenv.NewToxicProxy(w.T, w.database.Address(node))
	}
	w.write(name+"/database", w.database.URL(w.toDatabase[i][0].Address, w.toDatabase[i][1].Address))
	var list strings.Builder
	for n, app := range w.apps {
		fmt.Fprintf(&list, "  - {name: %s, url: %q, forge: gitea, branches: {main: [%s]}, poll: 10s}\n", app.FullName(), w.proxied(app), strings.Join(w.environments(n), ", "))
	}
	w.write(name+"/reconciler.yaml", fmt.Sprintf(`
instance: %s
data: data
keyFile: ../key
database: {url: {file: database}}
server: {listen: %q, url: "http://127.0.0.1"}
platform: {directory: ../platform, poll: 5s}
forges:
  gitea:
    kind: gitea
    url: "http://%s"
    username: %s
    token: {file: ../token.gitea}
    webhookSecret: {file: ../secret}
repositories:
%squeue: {lease: %s, workers: 6}
log: {format: json, level: info}
`, instance, r.address, w.toGitea.Address, w.gitea.Bot.Login, list.String(), lease))
	end, err := r.furnish()
	w.must(err)
	w.Cleanup(end)
	w.replicas[i] = r
}

// open starts the servers and what people need to use them.
func (w *world) open() {
	w.Helper()
	// The first command makes the key and the tables.
	out, err := exec.Command(binary(), "token", "create", "chaos", "--config", w.replicas[0].config).Output()
	if exit, failed := errors.AsType[*exec.ExitError](err); failed {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	w.must(err)
	w.token = strings.TrimSpace(string(out))
	// A third of the repositories has no webhook: what happens there is only found by looking.
	for i, app := range w.apps {
		if n := i % servers; n != 0 {
			w.gitea.AddHook(w.T, app, "http://"+w.replicas[n].address+"/webhooks/gitea", secret)
		}
	}
	for _, r := range w.replicas {
		r.run()
		w.Cleanup(r.stop)
	}
}

// api asks any server that answers. refused says that a server understood and said no.
func (w *world) api(method, path string, in, out any) (refused bool, err error) {
	body, err := json.Marshal(in)
	if err != nil {
		return false, err
	}
	for range w.replicas {
		if refused, err = w.ask(w.replicas[w.asked], method, path, body, out); err == nil || refused {
			return refused, err
		}
		w.asked = (w.asked + 1) % servers
	}
	return false, err
}

// apiLimit bounds one question to one server; one that is stopped never answers.
const apiLimit = 3 * time.Second

func (w *world) ask(r *replica, method, path string, body []byte, out any) (refused bool, err error) {
	request, err := http.NewRequest(method, "http://"+r.address+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+w.token)
	request.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: apiLimit, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return false, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return response.StatusCode < http.StatusInternalServerError, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	if out == nil || len(text) == 0 {
		return false, nil
	}
	return false, json.Unmarshal(text, out)
}
