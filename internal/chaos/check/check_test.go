package check

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// scene is a small world in which everything is in order: one application in both environments, two generations, a merged
// pull request.
type scene struct {
	*testing.T
	*checker
	dir   string
	heads []string
	// statuses are what Gitea shows by commit, comments those of pull request 1.
	statuses map[string][]status
	comments []comment
}

func (s *scene) git(dir string, args ...string) string {
	s.Helper()
	cmd := exec.Command("git", append([]string{"-C", filepath.Join(s.dir, dir), "-c", "user.name=t", "-c", "user.email=t@example.com"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func (s *scene) write(name, content string) {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.Fatal(err)
	}
}

// commit commits everything in a repository, and lets it look as if it had been fetched.
func (s *scene) commit(dir, message string) string {
	s.Helper()
	s.git(dir, "add", "--all")
	s.git(dir, "commit", "--quiet", "--allow-empty", "--message", message)
	s.git(dir, "update-ref", "refs/remotes/origin/main", "HEAD")
	return s.git(dir, "rev-parse", "HEAD")
}

// deploy commits a generation of the application to the deployment repository.
func (s *scene) deploy(generation int, serial string) {
	s.Helper()
	s.put("deploy/environments/g", "app", serial)
	s.committed("app", generation)
}

// committed commits what is in the deployment repository as a generation.
func (s *scene) committed(name string, generation int) {
	s.Helper()
	s.commit("deploy", fmt.Sprintf("Deploy\n\nApplication: %s\nEnvironment: g\nGeneration: %d\nSource: o/r@%s\nPlan: p%d\n", name, generation, s.heads[generation-1], generation))
}

// put writes the files that an application has in a target.
func (s *scene) put(root, name, serial string) {
	s.Helper()
	s.write(root+"/"+manifest(name), text(name, serial))
	s.write(root+"/"+name+"/"+name+".service.yaml", text(name, ""))
	if strings.HasPrefix(root, "deploy") {
		s.write(root+"/_applications/"+name+".yaml", text(name, ""))
	}
}

// text is what matters of a file in a target.
func text(name, serial string) string {
	return "reconciler.dev/application: " + name + "\nSERIAL: " + serial
}

// scoreText is what matters of a Score file.
func scoreText(name string, serial int, more string) string {
	return fmt.Sprintf("metadata: {name: %s%s}\nSERIAL: s%06d\n", name, more, serial)
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{T: t, dir: t.TempDir(), statuses: map[string][]status{}}
	for _, name := range []string{"app", "deploy"} {
		s.write(name+"/README", "")
		s.git(name, "init", "--quiet", "--initial-branch=main")
		s.commit(name, "Begin")
	}
	for n := 1; n <= 2; n++ {
		s.write("app/app/score.yaml", scoreText("app", n, ""))
		s.heads = append(s.heads, s.commit("app", "Change"))
	}
	s.deploy(1, "s000001")
	s.deploy(2, "s000002")
	s.put("folder", "app", "s000002")
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.checker = &checker{
		Evidence: Evidence{
			Bot: "bot", Instance: "i", InGit: "g", Deployment: filepath.Join(s.dir, "deploy"), Environments: map[string][]string{"o/r": {"g", "f"}},
			Clones: map[string]string{"o/r": filepath.Join(s.dir, "app")}, Folders: map[string]Folder{"f": {filepath.Join(s.dir, "folder"), Observed{"app": {"s000001", "s000002"}}}},
			Secrets: filepath.Join(s.dir, "secrets"),
		},
		Verdict: Verdict{Numbers: map[string]int{}}, history: s.past(), gitea: &gitea{server.URL, ""}, files: map[string][]scoreFile{},
	}
	for _, r := range s.history.reports {
		if r.Kind == "status" {
			s.statuses[r.Target] = append(s.statuses[r.Target], status{r.Context, r.State, r.Body})
		}
	}
	s.comments = []comment{{Body: "merged as " + s.heads[1][:7]}}
	s.comments[0].User.Login = "bot"
	return s
}

// past is the history of the scene.
func (s *scene) past() *history {
	h := &history{
		applications: map[int64]applicationRow{}, releases: map[key]releaseRow{}, evaluated: map[string]bool{"o/r@" + s.heads[1]: true},
		pulls: []pullRow{{Repository: "o/r", State: "merged", Number: 1, MergeCommit: s.heads[1]}},
	}
	for i, environment := range []string{"g", "f"} {
		id := int64(i + 1)
		h.applications[id] = applicationRow{ID: id, Environment: environment, Name: "app", Path: "app/score.yaml", Repository: "o/r", Generation: 2, Applied: 2}
		for n := int64(1); n <= 2; n++ {
			h.releases[key{id, n}] = releaseRow{Application: id, Generation: n, Digest: "d", Commit: s.heads[n-1]}
			h.runs = append(h.runs, runRow{
				ID: 10*id + n, Application: id, Generation: n, Token: 100*n + id, Environment: environment, Name: "app", Repository: "o/r",
				Kind: "deploy", State: "succeeded", Plan: fmt.Sprintf("p%d", n), Commit: s.heads[n-1],
			})
			h.reports = append(h.reports, reportRow{"o/r", "status", s.heads[n-1], "reconciler/i/" + environment, "success", "1 deployed", true})
		}
	}
	h.reports = append(h.reports, reportRow{Repository: "o/r", Kind: "comment", Target: "1", Body: "merged as " + s.heads[1][:7], Sent: true})
	return h
}

// serve answers as Gitea does.
func (s *scene) serve(w http.ResponseWriter, r *http.Request) {
	var answer any
	switch path := strings.Split(r.URL.Path, "/"); {
	case strings.HasSuffix(r.URL.Path, "/status"):
		answer = map[string]any{"statuses": s.statuses[path[len(path)-2]]}
	case strings.HasSuffix(r.URL.Path, "/statuses"):
		answer = s.statuses[path[len(path)-2]]
	case strings.HasSuffix(r.URL.Path, "/comments"):
		answer = s.comments
	case r.URL.Query().Get("page") == "1" && strings.HasPrefix(r.URL.Path, "/api/v1/repos/o/r/"):
		answer = []pull{{Number: 1, State: "closed"}}
	default:
		answer = []pull{}
	}
	_ = json.NewEncoder(w).Encode(answer) // the client will tell
}

func (s *scene) check() []string {
	s.Helper()
	for _, look := range s.looks() {
		if err := look(s.Context()); err != nil {
			s.Fatal(err)
		}
	}
	return s.Violations
}

func TestWorldInOrderHasNoViolations(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	if found := s.check(); len(found) > 0 {
		t.Errorf("violations: %q", found)
	}
	if s.Numbers["deployment commits"] != 2 || s.Numbers["folder changes"] != 2 || s.Numbers["statuses"] != 4 || s.Numbers["comments"] != 1 {
		t.Errorf("numbers: %v", s.Numbers)
	}
}

// A commit that changes nothing is in order where it keeps out what the run before may still push, also for each attempt.
func TestCommitThatMovesTheBranchIsInOrder(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.edit(1, 1, func(r *runRow) { r.State = "superseded" })
	s.deploy(2, "s000002")
	if found := s.check(); len(found) > 0 {
		t.Errorf("violations: %q", found)
	}
}

// What is spoiled in the world is found, and told for what it is.
func TestEveryBrokenPromiseIsFound(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(s *scene){
		"app in g is \"s000001\" in the end": func(s *scene) { s.deploy(2, "s000001") },
		"app in f is \"\" in the end":        func(s *scene) { _ = os.Remove(filepath.Join(s.dir, "folder", manifest("app"))) },
		"stranger/x is in the target of f":   func(s *scene) { s.write("folder/stranger/x", "") },
		"applies generation 1 of app (appl":  func(s *scene) { s.deploy(1, "s000001"); s.deploy(2, "s000002") },
		"applies generation 2 of app (appl":  func(s *scene) { s.deploy(2, "s000001"); s.deploy(2, "s000002") },
		"changes nothing":                    func(s *scene) { s.deploy(2, "s000002") },
		"nobody confirmed plan p2": func(s *scene) {
			const database = "deploy/environments/g/app/postgres-app-12345678.statefulset.apps.yaml"
			s.write(database, "")
			s.deploy(1, "s000001")
			_ = os.Remove(filepath.Join(s.dir, database))
			s.deploy(2, "s000002")
		},
		"belongs to no run":                    func(s *scene) { s.write("deploy/x", ""); s.commit("deploy", "Somebody else's") },
		"brings \"s000009\", want \"s000002\"": func(s *scene) { s.deploy(2, "s000009") },
		"number 3 is out of order":             func(s *scene) { s.Folders["f"].Observed["app"] = []string{"s000001", "s000002", "s000001"} },
		"number 3 is out of order, or there":   func(s *scene) { s.Folders["f"].Observed["app"] = []string{"s000001", "s000002", "s000002"} },
		"number 1 is out of order":             func(s *scene) { s.Folders["f"].Observed["app"] = []string{"s000009"} },
		"is told nowhere":                      func(s *scene) { s.history.reports = s.history.reports[1:] },
		"was never sent":                       func(s *scene) { s.history.reports[0].Sent = false },
		"is shown as pending":                  func(s *scene) { s.statuses[s.heads[1]][0].Status = "pending" },
		"ends as pending":                      func(s *scene) { s.history.reports[1].State = "pending" },
		"want success":                         func(s *scene) { s.history.reports[1].State = "failure" },
		"has 2 comments":                       func(s *scene) { s.comments = append(s.comments, s.comments[0]) },
		"has lost its comment":                 func(s *scene) { s.comments = nil },
		"shows an old comment":                 func(s *scene) { s.comments[0].Body = "planning" },
		"is not told":                          func(s *scene) { s.history.pulls[0].MergeCommit, s.history.evaluated["o/r@fffffff"] = "fffffff", true },
		"is failed":                            func(s *scene) { s.edit(1, 1, func(r *runRow) { r.State = "failed" }) },
		"and run 11 of generation 1 had 101":   func(s *scene) { s.edit(1, 2, func(r *runRow) { r.Token = 100 }) },
		"has no release":                       func(s *scene) { delete(s.history.releases, key{1, 1}) },
		"has no run":                           func(s *scene) { s.history.runs = s.history.runs[1:] },
		"applied is 1":                         func(s *scene) { a := s.history.applications[1]; a.Applied = 1; s.history.applications[1] = a },
		"removed is true":                      func(s *scene) { a := s.history.applications[1]; a.Removed = true; s.history.applications[1] = a },
		"has lease 5 after 7":                  func(s *scene) { s.history.disorder = []string{"application/1: job 2 has lease 5 after 7"} },
		"is dead":                              func(s *scene) { s.history.left = []string{"job x is dead"} },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			spoil(s)
			if found := s.check(); !slices.ContainsFunc(found, func(v string) bool { return strings.Contains(v, want) }) {
				t.Errorf("not found; found is %q", found)
			}
		})
	}
}

func (s *scene) edit(application, generation int64, change func(*runRow)) {
	for i := range s.history.runs {
		if r := &s.history.runs[i]; r.Application == application && r.Generation == generation {
			change(r)
		}
	}
}

// What comes, changes, is put there anew as it is, goes and comes again in a folder is seen in this order.
func TestWatchSeesWhatChanges(t *testing.T) {
	t.Parallel()
	s := &scene{T: t, dir: t.TempDir()}
	stop := Watch(filepath.Join(s.dir, "folder"))
	for i, content := range []string{"s000001", "s000002", "s000002", "", "s000003"} {
		path := filepath.Join(s.dir, "folder", manifest("app"))
		if content == "" {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		} else {
			s.write("new", content)
			s.write("folder/app/x", "")
			if err := os.Rename(filepath.Join(s.dir, "new"), path); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Duration(5*(i+1)) * glance)
	}
	if got := stop()["app"]; !slices.Equal(got, []string{"s000001", "s000002", "s000002", "", "s000003"}) {
		t.Errorf("seen: %q", got)
	}
}
