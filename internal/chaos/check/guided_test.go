package check

import (
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// begun is when the first request of a guided scene came; one comes each second.
var begun = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// newGuidedScene is a scene with a second repository, o/q, that is deployed along a golden path, in order too: one and two
// come out (generation 1), together (2), of which the office refuses one, so that both go back (3); then one comes out (4),
// and two is rejected (4) and goes back (5). The files of commit 2 say that they go together, and that of two says it in
// commit 1 already.
func newGuidedScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.write("guided/README", "")
	s.git("guided", "init", "--quiet", "--initial-branch=main")
	var commits []string
	for n, files := range [][]string{{"one", "two"}, {"one", "two"}, {"one"}, {"two"}} {
		for _, name := range files {
			more := ""
			if n == 1 || n == 0 && name == "two" {
				more = ", annotations: {reconciler.dev/atomic: suite}"
			}
			s.write("guided/"+name+"/score.yaml", scoreText(name, n+1, more))
		}
		commits = append(commits, s.commit("guided", "Change"))
	}
	s.Clones["o/q"], s.Environments["o/q"], s.Guided = filepath.Join(s.dir, "guided"), []string{"p"}, "p"
	s.Folders["p"] = Folder{filepath.Join(s.dir, "out"), Observed{"one": {"s000001", "s000002", "s000001", "s000003"}, "two": {"s000001", "s000002", "s000001"}}}
	s.put("out", "one", "s000003")
	s.put("out", "two", "s000001")
	h := s.history
	h.steps = map[stepKey]stepRow{}
	h.applications[3] = applicationRow{ID: 3, Environment: "p", Name: "one", Path: "one/score.yaml", Repository: "o/q", Generation: 4, Applied: 4}
	h.applications[4] = applicationRow{ID: 4, Environment: "p", Name: "two", Path: "two/score.yaml", Repository: "o/q", Generation: 5, Applied: 5}
	s.guidedRun(3, "one", 1, commits[0], "succeeded", "open note site/eu site/us tell")
	s.guidedRun(4, "two", 1, commits[0], "succeeded", "open note site/eu site/us tell")
	s.guidedRun(4, "two", 2, commits[1], "succeeded", "open note site/eu site/us tell")
	s.guidedRun(3, "one", 2, commits[1], "failed", "open note site/eu site/us -tell !site/us !site/eu !open")
	s.rollback(3, "one", 3, commits[1])
	s.rollback(4, "two", 3, commits[1])
	s.guidedRun(3, "one", 4, commits[2], "succeeded", "open note site/eu site/us tell")
	s.guidedRun(4, "two", 4, commits[3], "failed", "open note !open")
	s.rollback(4, "two", 5, commits[3])
	for i := range h.runs {
		switch r := &h.runs[i]; {
		case r.Commit == commits[1] && r.Guided:
			r.Atomic, r.Together = "suite", 1
		case r.ID == 41:
			r.Atomic, r.Together = "suite", 2
		}
	}
	for i := range h.approvals {
		h.approvals[i].Approved = h.approvals[i].Run != 44
	}
	slices.SortFunc(h.runs, func(a, b runRow) int { return int(10*(a.Application-b.Application) + a.Generation - b.Generation) })
	for i, commit := range commits {
		state := []string{"success", "failure", "success", "failure"}[i]
		h.reports = append(h.reports, reportRow{"o/q", "status", commit, "reconciler/i/p", state, "1 of it", true})
		s.statuses[commit] = []status{{"reconciler/i/p", state, "1 of it"}}
	}
	return s
}

// guidedRun adds a run along the golden path to the past, with what it asked the office in this order: STEP, -STEP that was
// refused, !STEP that was undone.
func (s *scene) guidedRun(application int64, name string, generation int64, commit, state, did string) {
	id, h := 10*application+generation, s.history
	h.releases[key{application, generation}] = releaseRow{Application: application, Generation: generation, Digest: "d", Commit: commit}
	h.runs = append(h.runs, runRow{
		ID: id, Application: application, Generation: generation, Token: 1000 + 10*generation + application, Environment: "p", Name: name, Repository: "o/q",
		Kind: "deploy", State: state, Commit: commit, Guided: true, Began: true,
		Created: begun.Add(time.Duration(generation) * time.Hour), Finished: begun.Add(time.Duration(generation)*time.Hour + time.Minute),
	})
	if generation%2 == 0 {
		h.steps[stepKey{id, "ask"}] = stepRow{Asked: true}
		h.approvals = append(h.approvals, approvalRow{Run: id})
	}
	tickets := map[string]int{}
	for what := range strings.FieldsSeq(did) {
		step := strings.TrimLeft(what, "-!")
		h.steps[stepKey{id, asSteps[step]}] = stepRow{Attempt: 1}
		r := Request{At: begun.Add(time.Duration(len(s.Office)) * time.Second), Path: "/do/" + step, Status: http.StatusOK, Ticket: len(s.Office)}
		more := ""
		switch {
		case what[0] == '!':
			r.Path, more = "/undo/"+step, fmt.Sprintf(`, "ticket": %d`, tickets[step])
		case what[0] == '-':
			r.Status = http.StatusUnprocessableEntity
		case step == "tell":
			more = fmt.Sprintf(`, "seats": [%d, %d]`, tickets["site/eu"], tickets["site/us"])
		case strings.HasPrefix(step, "site"):
			more = fmt.Sprintf(`, "window": %d`, tickets["open"])
		}
		if r.Path == "/do/"+step {
			tickets[step] = r.Ticket
		}
		r.Key = fmt.Sprintf("%d %s", id, r.Path)
		r.Body = fmt.Sprintf(`{"application": %q, "generation": %d, "commit": %q%s}`, name, generation, commit, more)
		s.Office = append(s.Office, r)
	}
}

// approve says that everybody agreed to a run.
func (s *scene) approve(run int64) {
	for i := range s.history.approvals {
		if s.history.approvals[i].Run == run {
			s.history.approvals[i].Approved = true
		}
	}
}

// triedAgain has somebody cancel the last way back of two, and what had failed come out with the next run.
func (s *scene) triedAgain() {
	s.edit(4, 5, func(r *runRow) { r.State = "cancelled" })
	s.Cancels = map[int64]bool{45: true}
	s.guidedRun(4, "two", 6, s.history.releases[key{4, 4}].Commit, "succeeded", "open note site/eu site/us tell")
	s.approve(46)
	s.ends(4, 6, 6)
	s.put("out", "two", "s000004")
	s.see("two", "s000001", "s000002", "s000001", "s000004")
	s.toldOf(3, "success", "1 deployed")
}

// goneBack has two go back from its last commit, although that came out well, and somebody cancel that.
func (s *scene) goneBack() {
	commit := s.history.releases[key{4, 4}].Commit
	s.dropRuns(4, 4)
	s.guidedRun(4, "two", 4, commit, "succeeded", "open note site/eu site/us tell")
	s.approve(44)
	s.rollback(4, "two", 5, commit)
	s.edit(4, 5, func(r *runRow) { r.State = "cancelled" })
	s.Cancels = map[int64]bool{45: true}
	s.ends(4, 5, 4)
	s.see("two", "s000001", "s000002", "s000001", "s000004", "s000001")
	s.toldOf(3, "success", "1 deployed")
}

// ends says which generations of an application are the newest and the one that came out last.
func (s *scene) ends(application, generation, applied int64) {
	a := s.history.applications[application]
	a.Generation, a.Applied = generation, applied
	s.history.applications[application] = a
}

// see is what was seen of an application over time.
func (s *scene) see(name string, serials ...string) {
	seen := maps.Clone(s.Folders["p"].Observed)
	seen[name] = serials
	s.Folders["p"] = Folder{s.Folders["p"].Path, seen}
}

func (s *scene) rollback(application int64, name string, generation int64, commit string) {
	id, first := 10*application+generation, int64(1)
	s.history.releases[key{application, generation}] = releaseRow{Application: application, Generation: generation, Digest: "d", Commit: commit, Of: &first}
	s.history.runs = append(s.history.runs, runRow{
		ID: id, Application: application, Generation: generation, Token: 1000 + 10*generation + application, Environment: "p", Name: name, Repository: "o/q",
		Kind: "rollback", State: "succeeded", Commit: commit, Began: true,
	})
}

// request finds what a run asked the office, as its id and the path.
func (s *scene) request(run, path string) *Request {
	s.Helper()
	i := s.at(run, path)
	return &s.Office[i]
}

func (s *scene) at(run, path string) int {
	s.Helper()
	i := slices.IndexFunc(s.Office, func(r Request) bool { return r.Key == run+" "+path })
	if i < 0 {
		s.Fatalf("run %s did not ask %s", run, path)
	}
	return i
}

// move puts a request at the end of the record, or at its beginning.
func (s *scene) move(run, path string, end bool) {
	s.Helper()
	i := s.at(run, path)
	r := s.Office[i]
	s.Office = slices.Delete(s.Office, i, i+1)
	if end {
		s.Office = append(s.Office, r)
	} else {
		s.Office = slices.Insert(s.Office, 0, r)
	}
}

// drop takes requests out of the record.
func (s *scene) drop(run string, paths ...string) {
	s.Helper()
	for _, path := range paths {
		i := s.at(run, path)
		s.Office = slices.Delete(s.Office, i, i+1)
	}
}

func (s *scene) again(run, path string, change func(*Request)) {
	s.Helper()
	r := *s.request(run, path)
	change(&r)
	s.Office = append(s.Office, r)
}

func (s *scene) replace(run, path, what, by string) {
	s.Helper()
	r := s.request(run, path)
	if !strings.Contains(r.Body, what) {
		s.Fatalf("%s has no %q", r.Body, what)
	}
	r.Body = strings.Replace(r.Body, what, by, 1)
}

func (s *scene) dropRuns(application, from int64) {
	s.history.runs = slices.DeleteFunc(s.history.runs, func(r runRow) bool { return r.Application == application && r.Generation >= from })
	for k := range s.history.releases {
		if k.application == application && k.generation >= from {
			delete(s.history.releases, k)
		}
	}
	s.Office = slices.DeleteFunc(s.Office, func(r Request) bool {
		var id int64
		_, _ = fmt.Sscan(r.Key, &id)
		return id/10 == application && id%10 >= from
	})
	a := s.history.applications[application]
	a.Generation, a.Applied = from-1, from-1
	s.history.applications[application] = a
}

func TestGuidedWorldInOrderHasNoViolations(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *scene){
		"as it is": func(*scene) {},
		"a request is sent again": func(s *scene) {
			s.again("31", "/do/open", func(r *Request) { r.Again = true })
		},
		"the office was busy first": func(s *scene) {
			s.Office = slices.Insert(s.Office, 0, *s.request("31", "/do/open"))
			s.Office[0].Status = http.StatusServiceUnavailable
		},
		"a question ended with its time": func(s *scene) {
			s.history.approvals = slices.DeleteFunc(s.history.approvals, func(a approvalRow) bool { return a.Run == 44 })
			s.history.steps[stepKey{44, "ask"}] = stepRow{Asked: true, Waited: 60}
		},
		"the group is of two commits": func(s *scene) {
			s.edit(4, 1, func(r *runRow) { r.Together = 1 })
		},
		"the office was busy when it was asked to undo": func(s *scene) {
			i := s.at("32", "/undo/site/us")
			s.Office = slices.Insert(s.Office, i, s.Office[i])
			s.Office[i].Status = http.StatusServiceUnavailable
		},
		"somebody cancelled a way back": func(s *scene) {
			s.edit(4, 5, func(r *runRow) { r.State = "cancelled" })
			s.ends(4, 5, 3)
			s.Cancels = map[int64]bool{45: true}
		},
		"the answer that it was undone was lost": func(s *scene) {
			s.again("32", "/undo/site/us", func(r *Request) { r.Again = true })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newGuidedScene(t)
			change(s)
			if found := s.check(); len(found) > 0 {
				t.Errorf("violations: %q", found)
			}
			if s.Numbers["office effects"] != 26 || s.Numbers["runs undone"] != 2 || s.Numbers["groups taken back"] != 1 {
				t.Errorf("numbers: %v", s.Numbers)
			}
		})
	}
}

// What failed is tried again if somebody lifts its hold.
func TestWhatIsLostMayBeAskedForAgain(t *testing.T) {
	t.Parallel()
	s := newGuidedScene(t)
	s.triedAgain()
	s.Resumed = map[string]bool{"two": true}
	if found := s.check(); len(found) > 0 {
		t.Errorf("violations: %q", found)
	}
}

func TestEveryBrokenPromiseOfAGoldenPathIsFound(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(s *scene){
		"has two requests":                  func(s *scene) { s.again("31", "/do/open", func(r *Request) { r.Body += " " }) },
		"of which no run began":             func(s *scene) { s.replace("31", "/do/open", `"generation": 1`, `"generation": 9`) },
		"generation 1 of one, of which no":  func(s *scene) { delete(s.history.steps, stepKey{31, "open"}) },
		"with two keys":                     func(s *scene) { s.again("31", "/do/open", func(r *Request) { r.Key = "other" }) },
		"when generation 4 was on its way":  func(s *scene) { s.move("31", "/do/note", true) },
		"did tell without site/us":          func(s *scene) { s.move("34", "/do/tell", false) },
		"did site/eu without note":          func(s *scene) { s.drop("34", "/do/note") },
		"goes on with 99":                   func(s *scene) { s.replace("31", "/do/site/eu", `"window": 0`, `"window": 99`) },
		"tells [2 99]":                      func(s *scene) { s.replace("31", "/do/tell", "[2, 3]", "[2, 99]") },
		"did not do tell":                   func(s *scene) { s.drop("31", "/do/tell") },
		"is failed, and 3 of its effects":   func(s *scene) { s.drop("32", "/undo/site/us", "/undo/site/eu", "/undo/open") },
		"is failed, and 1 of its effects":   func(s *scene) { s.drop("44", "/undo/open") },
		"is superseded, and 1 of its effec": func(s *scene) { s.drop("44", "/undo/open"); s.edit(4, 4, func(r *runRow) { r.State = "superseded" }) },
		"is cancelled, and 1 of its effect": func(s *scene) { s.drop("44", "/undo/open"); s.edit(4, 4, func(r *runRow) { r.State = "cancelled" }) },
		"succeeded, and was undone":         func(s *scene) { s.edit(3, 2, func(r *runRow) { r.State = "succeeded" }) },
		"was undone before it was":          func(s *scene) { s.move("44", "/undo/open", false) },
		"open was undone, and never done":   func(s *scene) { s.drop("44", "/do/open") },
		"open was undone before site/us": func(s *scene) { // however hard it was to get through
			s.move("32", "/undo/site/us", true)
			s.Disturbed = []Span{{begun, begun.Add(time.Hour)}}
		},
		"open was undone before site/eu": func(s *scene) { // which the office was too busy for at first
			s.again("32", "/undo/site/eu", func(*Request) {})
			s.request("32", "/undo/site/eu").Status = http.StatusServiceUnavailable
		},
		"open was undone beside gener": func(s *scene) { s.edit(4, 4, func(r *runRow) { r.Token = 5000 }) },
		"open was undone before site/": func(s *scene) { s.drop("32", "/undo/site/us") },
		"ticket 99 of open was undone": func(s *scene) {
			s.replace("44", "/undo/open", `"ticket": `+fmt.Sprint(s.request("44", "/do/open").Ticket), `"ticket": 99`)
		},
		"ticket 0 of site/us was undone": func(s *scene) {
			r := s.request("32", "/undo/site/us")
			r.Body, _, _ = strings.Cut(r.Body, `, "ticket"`)
			r.Body += "}"
		},
		"site/eu, and nobody approved it":   func(s *scene) { s.history.approvals = nil },
		"wrote 0 files, and nobody approve": func(s *scene) { s.history.approvals = nil },
		"wrote 2 files, and nobody approve": func(s *scene) { s.edit(4, 4, func(r *runRow) { r.Writes = 2 }) },
		"nobody refused or rejected it":     func(s *scene) { s.drop("32", "/do/tell") },
		"failed, and nobody refused or rej": func(s *scene) {
			s.history.approvals = nil
			s.history.steps[stepKey{44, "ask"}] = stepRow{Asked: true, Waited: 20}
		},
		"is cancelled, and nobody did it":              func(s *scene) { s.edit(4, 4, func(r *runRow) { r.State = "cancelled" }) },
		"run 46 (two in p, generation 6) tries ag":     (*scene).triedAgain,
		"two in p is \"s000001\" in the end, want one": (*scene).goneBack,
		"two in p: applied is generation 5, which is c": func(s *scene) {
			s.edit(4, 5, func(r *runRow) { r.State = "cancelled" })
			s.Cancels = map[int64]bool{45: true}
		},
		"run 45 (two in p, generation 5) is canc": func(s *scene) { s.edit(4, 5, func(r *runRow) { r.State = "cancelled" }); s.ends(4, 5, 3) },
		"two in p was [s000001 s000002 s00":       func(s *scene) { s.Folders["p"].Observed["two"] = append(s.Folders["p"].Observed["two"], "s000004") },
		"two in p stays at generation 2":          func(s *scene) { s.dropRuns(4, 3) },
		"two in p stays at generation 2 of":       func(s *scene) { s.edit(4, 2, func(r *runRow) { r.Commit = s.heads[0] }); s.dropRuns(4, 3) },
		"run 42 (two in p, generation 2) is canc": func(s *scene) { s.edit(4, 2, func(r *runRow) { r.State = "cancelled" }) },
		"was taken back, and none of its group f": func(s *scene) { s.edit(3, 2, func(r *runRow) { r.Together = 9 }) },
		"two in p: generation 2 of": func(s *scene) { // the other one had left before it failed
			s.edit(3, 3, func(r *runRow) { r.Kind = "deploy" })
		},
		"generation 3 is not deployed with those": func(s *scene) {
			s.edit(3, 2, func(r *runRow) { r.State = "succeeded" })
			s.edit(3, 3, func(r *runRow) { r.Kind = "deploy" })
			s.edit(4, 2, func(r *runRow) { r.State = "superseded" })
			s.edit(4, 3, func(r *runRow) { r.Kind, r.Atomic, r.Together = "deploy", "suite", 9 })
		},
		"with \"suite\", and goes with \"\" as num": func(s *scene) { s.edit(4, 2, func(r *runRow) { r.Atomic, r.Together = "", 0 }) },
		"with \"suite\", and goes with \"suite\" a": func(s *scene) { s.edit(4, 2, func(r *runRow) { r.Together = 0 }) },
		"with \"\", and goes with \"suite\" as num": func(s *scene) { s.edit(3, 4, func(r *runRow) { r.Atomic, r.Together = "suite", 9 }) },
		"and what was made at once with it has":     func(s *scene) { s.edit(4, 2, func(r *runRow) { r.Together = 9 }) },
		"[two] are there in the end, and [one] ar":  func(s *scene) { s.stays(); s.edit(4, 2, func(r *runRow) { r.Atomic, r.Together = "", 0 }) },
		"generation 4 failed, and nothing went":     func(s *scene) { s.dropRuns(4, 5); s.ends(4, 4, 3) },
		"one in p was never tried":                  func(s *scene) { a := s.history.applications[3]; a.Removed = true; s.history.applications[3] = a },
		"one in p is \"s000001\" in the end":        func(s *scene) { s.put("out", "one", "s000001") },
		"two in p is \"s000001\" in the end, wan":   func(s *scene) { s.edit(4, 4, func(r *runRow) { r.State = "superseded" }) },
		"1 waiting for a confirmation":              func(s *scene) { s.toldOf(0, "pending", "1 waiting for a confirmation") },
		"in p, want failure: \"1 on h":              func(s *scene) { s.toldOf(3, "success", "1 on hold") },
		"in p, want failure: \"1 tak":               func(s *scene) { s.toldOf(1, "success", "1 taken back") },
		"in p, want success: \"1 fai":               func(s *scene) { s.toldOf(2, "failure", "1 failed") },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s := newGuidedScene(t)
			spoil(s)
			if found := s.check(); !slices.ContainsFunc(found, func(v string) bool { return strings.Contains(v, want) }) {
				t.Errorf("not found; found is %q", found)
			}
		})
	}
}

// What is deployed with something that failed is not tried, as long as its file says so.
func TestOnlyWhatIsDeployedWithAFailureMayBeKeptBack(t *testing.T) {
	t.Parallel()
	s := newGuidedScene(t)
	kept := func(suite string) bool {
		yes, err := s.keptBack(t.Context(), s.history.applications[3], scoreFile{suite: suite})
		if err != nil {
			t.Error(err)
		}
		return yes
	}
	if kept("suite") || kept("") {
		t.Error("kept back by what it is not deployed with")
	}
	s.edit(4, 4, func(r *runRow) { r.Atomic = "suite" })
	if !kept("suite") || kept("") || kept("other") {
		t.Error("not kept back, or by another one")
	}
	s.edit(4, 4, func(r *runRow) { r.State = "succeeded" })
	if kept("suite") {
		t.Error("kept back by what succeeded")
	}
}

// A person may roll one back when all of a group are there, and means all of them before that.
func TestARollbackByAPersonIsForAllThatAreUnderWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   time.Duration
		found bool
	}{"all were there": {time.Minute, false}, "the other one was under way": {2 * time.Hour, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newGuidedScene(t)
			s.edit(3, 2, func(r *runRow) { r.State = "succeeded" })
			s.edit(3, 3, func(r *runRow) {
				r.Commit, r.Created = s.history.releases[key{3, 1}].Commit, begun.Add(3*time.Hour)
			})
			s.edit(4, 2, func(r *runRow) { r.Finished = r.Created.Add(c.end) })
			s.dropRuns(4, 3)
			s.checkGroups()
			if found := len(s.Violations) > 0; found != c.found {
				t.Errorf("found %q", s.Violations)
			}
		})
	}
}

// endTorn ends the scene after both have gone back, so that their newest files are those of the commit that deploys them together.
func (s *scene) endTorn() {
	s.Helper()
	s.git("guided", "update-ref", "refs/remotes/origin/main", "HEAD~2")
	s.dropRuns(3, 4)
	s.dropRuns(4, 4)
	s.put("out", "one", "s000001")
	s.Folders["p"].Observed["one"] = s.Folders["p"].Observed["two"]
}

// stays lets two stay at what it is deployed as together with one, which goes back.
func (s *scene) stays() {
	s.Helper()
	s.endTorn()
	s.dropRuns(4, 3)
	s.put("out", "two", "s000002")
}

// What one commit deploys together is there in the end or not, whatever number its runs have; a person, and what is tried
// again alone, may part it.
func TestWhatGoesTogetherIsNotApartInTheEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(s *scene)
		apart  bool
	}{
		"both went back":           {(*scene).endTorn, false},
		"one stays with its group": {(*scene).stays, true},
		"somebody would not have one go back": {func(s *scene) {
			s.stays()
			s.rollback(4, "two", 3, s.history.releases[key{4, 2}].Commit)
			s.edit(4, 3, func(r *runRow) { r.State = "cancelled" })
		}, false},
		"one stays without a number": {func(s *scene) {
			s.stays()
			s.edit(4, 2, func(r *runRow) { r.Atomic, r.Together = "", 0 })
		}, true},
		"one stays with another number": {func(s *scene) {
			s.stays()
			s.edit(4, 2, func(r *runRow) { r.Together = 9 })
		}, true},
		"the others had come out, and one was tried again alone": {func(s *scene) {
			s.stays()
			h := s.history
			h.runs = append(h.runs, h.runs[slices.IndexFunc(h.runs, func(r runRow) bool { return r.ID == 32 })])
			again := &h.runs[len(h.runs)-1]
			again.ID, again.Generation, again.Together = 34, 4, 9
			h.releases[key{3, 4}] = releaseRow{Application: 3, Generation: 4, Digest: "d", Commit: again.Commit}
			s.edit(3, 2, func(r *runRow) { r.State = "succeeded" })
			s.edit(3, 3, func(r *runRow) { r.Commit = h.releases[key{3, 1}].Commit }) // a person's
		}, false},
		"a person brought one out again": {func(s *scene) {
			s.endTorn()
			second := int64(2)
			s.rollback(4, "two", 4, s.history.releases[key{4, 2}].Commit)
			s.history.releases[key{4, 4}] = releaseRow{Application: 4, Generation: 4, Digest: "d", Commit: s.history.releases[key{4, 2}].Commit, Of: &second}
			s.put("out", "two", "s000002")
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newGuidedScene(t)
			c.change(s)
			if err := s.checkApart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found := len(s.Violations) > 0; found != c.apart {
				t.Errorf("violations: %q", s.Violations)
			}
			if c.apart && !strings.Contains(s.Violations[0], "[two] are there in the end, and [one] are not") {
				t.Errorf("violations: %q", s.Violations)
			}
		})
	}
}

// toldOf changes what is told of a commit along the golden path, at both ends.
func (s *scene) toldOf(n int, state, text string) {
	for i := range s.history.reports {
		if r := &s.history.reports[i]; r.Context == "reconciler/i/p" {
			if n == 0 {
				r.State, r.Body = state, text
				s.statuses[r.Target] = []status{{r.Context, state, text}}
			}
			n--
		}
	}
}
