//go:build chaos

package chaos

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
)

// fewest is how many applications a repository keeps: removing all would ask a person each time.
const fewest = 6

// author is somebody who works on one repository, with a clone of it.
type author struct {
	*world
	repo testenv.Repo
	n    int
	// dir is the clone; it keeps all commits, also those that a push by force took out.
	dir string
	// next numbers new applications.
	next int
	// pulls are open pull requests in the order of their making.
	pulls []openPull
	// group is what was changed last to be deployed all or none, and suite what its files say.
	group []string
	suite int
	// touched is what was changed last.
	touched string
}

type openPull struct {
	number int64
	branch string
	// apps are those that it changes.
	apps []string
}

func newAuthor(w *world, n int) *author {
	w.Helper()
	a := &author{world: w, repo: w.apps[n], n: n, dir: w.path("clones", fmt.Sprint(n))}
	w.must(os.MkdirAll(a.dir, 0o755))
	a.git("clone", "--quiet", a.repo.GitURL(w.gitea.Admin), ".")
	a.git("config", "gc.auto", "0")
	a.git("config", "user.name", "Dana")
	a.git("config", "user.email", "dana@shop.example")
	return a
}

func (a *author) git(args ...string) string {
	a.Helper()
	return a.world.git(a.dir, args...)
}

// names are the folders of the applications in the work tree.
func (a *author) names() (list []string) {
	found, err := filepath.Glob(filepath.Join(a.dir, "*", "score.yaml"))
	a.must(err)
	for _, f := range found {
		list = append(list, filepath.Base(filepath.Dir(f)))
	}
	return list
}

func (a *author) add(serial int) string {
	a.Helper()
	name := fmt.Sprintf("r%d-app%02d", a.n, a.next)
	a.next++
	a.put(name, scoreOptions{serial: serial, name: name})
	return name
}

// some returns one to three applications.
func (a *author) some(r *rand.Rand) []string {
	names := a.names()
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	return names[:min(len(names), 1+r.IntN(3))]
}

// commit commits what is in the work tree and returns the commit.
func (a *author) commit(message string) string {
	a.Helper()
	a.git("add", "--all")
	a.git("commit", "--quiet", "--allow-empty", "--message", message)
	return a.git("rev-parse", "HEAD")
}

// push commits what is in the work tree to main and pushes it.
func (a *author) push(message string, force bool) {
	a.Helper()
	a.commit(message)
	args := []string{"push", "--quiet", "origin", "main"}
	if force {
		args = append(args, "--force")
	}
	a.git(args...)
}

// fill makes the repository's first applications.
func (a *author) fill() {
	a.Helper()
	for range files {
		a.add(0)
	}
	a.push("Begin", false)
}

// do does an act with a serial, and says what it was and whether there was anything to do.
func (a *author) do(kind string, serial int, r *rand.Rand) (told string, done bool) {
	a.Helper()
	a.git("checkout", "--quiet", "main")
	switch kind {
	case "change":
		return a.change(a.some(r), serial, false), true
	case "break":
		return a.change(a.some(r)[:1], serial, true), true
	case "add":
		name := a.add(serial)
		a.push("add "+name, false)
		return name, true
	case "remove":
		return a.remove(r)
	case "revert":
		return a.revert()
	case "force":
		return a.rewrite(serial, r)
	case "atomic":
		return a.together(serial, r), true
	case "join", "leave":
		return a.again(kind, serial)
	case "rename":
		return a.rename(serial, r), true
	case "share":
		return a.share(serial, r), true
	case "unshare":
		return a.unshare(serial, r)
	default:
		return a.pull(kind, serial, r)
	}
}

func (a *author) change(names []string, serial int, broken bool) string {
	a.Helper()
	for _, name := range names {
		o := a.now(name, serial)
		o.broken = broken
		a.put(name, o)
	}
	a.push(fmt.Sprintf("change %v", names), false)
	return fmt.Sprint(names)
}

// remove removes an application, every other time one whose data somebody has to let go.
func (a *author) remove(r *rand.Rand) (told string, done bool) {
	a.Helper()
	names := a.names()
	if len(names) <= fewest {
		return "too few are left", false
	}
	name := names[r.IntN(len(names))]
	if i := slices.IndexFunc(names, hasDatabase); i >= 0 && r.IntN(2) == 0 {
		name = names[i]
	}
	a.git("rm", "--quiet", "-r", name)
	a.push("remove "+name, false)
	return name, true
}

// revert brings the state before the newest commit back, whatever that was.
func (a *author) revert() (told string, done bool) {
	a.Helper()
	if a.git("rev-list", "--count", "--first-parent", "HEAD") == "1" {
		return "nothing to revert", false
	}
	before := a.git("rev-parse", "HEAD~1^{tree}")
	if a.count(before) < fewest {
		return "too few would be left", false
	}
	a.git("reset", "--quiet", "--hard", a.git("commit-tree", "-p", "HEAD", "-m", "revert", before))
	a.git("push", "--quiet", "origin", "main")
	return "", true
}

// rewrite takes the newest commits out of the branch's history and puts another one in their place.
func (a *author) rewrite(serial int, r *rand.Rand) (told string, done bool) {
	a.Helper()
	back := fmt.Sprintf("HEAD~%d", 1+r.IntN(2))
	if _, err := tryGit(a.dir, "rev-parse", "--quiet", "--verify", back); err != nil || a.count(back) < fewest {
		return "too few would be left", false
	}
	a.git("reset", "--quiet", "--hard", back)
	names := a.some(r)
	for _, name := range names {
		a.put(name, a.now(name, serial))
	}
	a.push(fmt.Sprintf("rewrite %v", names), true)
	return fmt.Sprintf("to %s, %v", back, names), true
}

// count returns how many Score files a tree has.
func (a *author) count(tree string) int {
	a.Helper()
	return strings.Count(a.git("ls-tree", "-r", "--name-only", tree), "/score.yaml")
}

// pull does what is done with pull requests. What needs one opens one if there is none.
func (a *author) pull(kind string, serial int, r *rand.Rand) (told string, done bool) {
	a.Helper()
	if kind == "open" || len(a.pulls) == 0 {
		p := openPull{branch: fmt.Sprintf("change-%d", serial), apps: a.some(r)}
		a.git("checkout", "--quiet", "-b", p.branch)
		a.propose(p, serial)
		p.number = a.gitea.OpenPull(a.T, a.repo, p.branch, "main", fmt.Sprintf("Change %v", p.apps)).Number
		a.pulls = append(a.pulls, p)
		a.git("checkout", "--quiet", "main")
	}
	p := a.pulls[0]
	switch kind {
	case "open":
		p = a.pulls[len(a.pulls)-1]
		return fmt.Sprintf("#%d %v", p.number, p.apps), true
	case "amend":
		a.git("checkout", "--quiet", p.branch)
		a.propose(p, serial)
		return fmt.Sprintf("#%d", p.number), true
	case "close":
		a.pulls = a.pulls[1:]
		a.gitea.ClosePull(a.T, a.repo, p.number)
		return fmt.Sprintf("#%d", p.number), true
	case "merge":
		a.pulls = a.pulls[1:]
		if !a.mergeable(p) {
			a.gitea.ClosePull(a.T, a.repo, p.number)
			return fmt.Sprintf("#%d conflicts and is closed", p.number), false
		}
		a.gitea.Merge(a.T, a.repo, p.number)
		a.git("fetch", "--quiet", "origin")
		a.git("reset", "--quiet", "--hard", "origin/main")
		return fmt.Sprintf("#%d", p.number), true
	}
	a.Fatalf("nobody knows how to %s", kind)
	return "", false
}

func (a *author) propose(p openPull, serial int) {
	a.Helper()
	for _, name := range p.apps {
		if _, err := os.Stat(filepath.Join(a.dir, name)); err == nil {
			a.put(name, a.now(name, serial))
		}
	}
	a.commit(fmt.Sprintf("propose %v", p.apps))
	a.git("push", "--quiet", "origin", p.branch)
}

// mergeable says whether git itself can merge a pull request, and the result keeps enough applications.
func (a *author) mergeable(p openPull) bool {
	a.Helper()
	defer a.git("reset", "--quiet", "--hard", "main")
	if _, err := tryGit(a.dir, "merge", "--quiet", "--no-commit", "--no-ff", p.branch); err != nil {
		return false
	}
	return len(a.names()) >= fewest
}

// person does with an application what a person does through the API, and says what came of it and whether anything did.
// Servers may all be away: it is tried for a while.
func (a *author) person(kind string, r *rand.Rand) (told string, done bool) {
	switch {
	case slices.Contains(guidedActs, kind):
		return a.steer(kind, r)
	case kind == "confirm":
		return a.confirm()
	}
	names, environments := a.names(), a.environments(a.n)
	name, environment := a.called(names[r.IntN(len(names))]), environments[r.IntN(len(environments))]
	in := map[string]any{"hold": map[string]string{"reason": "chaos"}, "rollback": map[string]int{"generation": 0}, "resume": map[string]string{}}[kind]
	if kind == "resume" {
		a.resumed[name] = true
	}
	err := a.try("/applications/"+environment+"/"+name+"/"+kind, in)
	return fmt.Sprintf("%s in %s: %v", name, environment, err), err == nil
}

// personPatience is how long a person tries.
const personPatience = 10 * time.Second

func (w *world) try(path string, in any) (err error) {
	for until := time.Now().Add(personPatience); time.Now().Before(until); <-time.After(look) {
		var refused bool
		if refused, err = w.api("POST", path, in, nil); err == nil || refused {
			return err
		}
	}
	return err
}

// application is what the API tells of one.
type application struct {
	Name, Environment, Repository, Waiting string
	WaitingFor                             *struct{ Code string }
	Hold                                   *hold
}

// waits says that a person is asked, and that it is not another application that it waits for.
func (a application) waits() bool { return a.Waiting != "" && a.WaitingFor.Code != "ORC-5223" }

// hold is why an application is not deployed by itself; Release is the only one that is held back, "" for all.
type hold struct{ Reason, Release string }

// byAPerson says that people want it, and not the reconciler after a failure.
func (h *hold) byAPerson() bool {
	return h != nil && h.Release == ""
}

// confirm confirms what waits.
func (w *world) confirm() (told string, done bool) {
	var list []application
	if _, err := w.api("GET", "/applications", nil, &list); err != nil {
		return err.Error(), false
	}
	var errs []error
	n := 0
	for _, a := range list {
		if a.waits() {
			n++
			w.confirmed[a.Waiting] = true
			errs = append(errs, w.try("/plans/"+a.Waiting+"/confirm", nil))
		}
	}
	failed := errors.Join(errs...)
	return fmt.Sprintf("%d plans %v", n, failed), n > 0 && failed == nil
}
