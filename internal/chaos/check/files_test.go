package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newRenamedScene is a scene whose application has a third generation, in order too: it has another name, a database, and what
// several applications share.
func newRenamedScene(t *testing.T) *scene {
	t.Helper()
	s := newScene(t)
	s.write("app/app/score.yaml", scoreText("new", 3, "")+"db: {type: postgres}\ncommon: {type: common, id: all}\n")
	s.heads = append(s.heads, s.commit("app", "Rename"))
	h := s.history
	for i, environment := range []string{"g", "f"} {
		id := int64(i + 1)
		a := h.applications[id]
		a.Name, a.Generation, a.Applied = "new", 3, 3
		h.applications[id] = a
		h.releases[key{id, 3}] = releaseRow{Application: id, Generation: 3, Digest: "d", Commit: s.heads[2]}
		h.runs = append(h.runs, runRow{
			ID: 10*id + 3, Application: id, Generation: 3, Token: 300 + id, Environment: environment, Name: "new", Repository: "o/r",
			Kind: "deploy", State: "succeeded", Plan: "p3", Commit: s.heads[2],
		})
		h.reports = append(h.reports, reportRow{"o/r", "status", s.heads[2], "reconciler/i/" + environment, "success", "1 deployed", true})
		s.statuses[s.heads[2]] = append(s.statuses[s.heads[2]], status{"reconciler/i/" + environment, "success", "1 deployed"})
	}
	slices.SortFunc(h.runs, func(a, b runRow) int { return int(a.ID - b.ID) })
	s.rename("deploy/environments/g", "secrets")
	s.remove("deploy/environments/g/_applications/app.yaml")
	s.write("deploy/environments/g/_applications/_shared.yaml", "shared")
	s.committed("new", 3)
	s.rename("folder", "folder")
	s.write("folder/.reconciler/app.fence", "103")
	s.write("secrets/.reconciler/new.fence", "103")
	s.Folders["f"].Observed["app"] = []string{"s000001", "s000002", ""}
	s.Folders["f"].Observed["new"] = []string{"s000003"}
	return s
}

// rename puts the third generation into a target in the place of the second, its Secret into a folder.
func (s *scene) rename(root, secrets string) {
	s.Helper()
	s.remove(root + "/app")
	s.put(root, "new", "s000003")
	s.write(secrets+"/new/postgres-new-0123abcd.secret.yaml", text("new", ""))
	s.write(root+"/new/postgres-new-0123abcd.service.yaml", text("new", ""))
	s.write(root+"/new/postgres-new-0123abcd.statefulset.apps.yaml", text("new", ""))
	s.write(root+"/_shared/common-all.configmap.yaml", "shared")
}

func (s *scene) remove(name string) {
	s.Helper()
	if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
		s.Fatal(err)
	}
}

// last changes what the deployment repository has in the end, in its newest commit.
func (s *scene) last(change func()) {
	s.Helper()
	change()
	s.git("deploy", "add", "--all")
	s.git("deploy", "commit", "--quiet", "--amend", "--no-edit")
	s.git("deploy", "update-ref", "refs/remotes/origin/main", "HEAD")
}

func TestRenamedWorldInOrderHasNoViolations(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(s *scene){
		"as it is": func(*scene) {},
		"nobody shares anything any more": func(s *scene) {
			s.Clones, s.Environments = nil, nil
			s.history.runs, s.history.releases, s.history.applications, s.history.reports = nil, nil, nil, nil
			s.git("deploy", "update-ref", "refs/remotes/origin/main", s.git("deploy", "rev-list", "--max-parents=0", "HEAD"))
			s.remove("folder/new")
			s.remove("folder/_shared/common-all.configmap.yaml")
			s.remove("secrets/new")
			s.Folders["f"] = Folder{Path: s.Folders["f"].Path}
		},
		"going back deleted no data": func(s *scene) {
			s.write("folder/app/postgres-app-0123abcd.statefulset.apps.yaml", text("app", ""))
			s.edit(2, 3, func(r *runRow) { r.Kind = "rollback" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newRenamedScene(t)
			change(s)
			if found := s.check(); len(found) > 0 {
				t.Errorf("violations: %q", found)
			}
		})
	}
}

// What lies about in a target, or is missing there, is found and told by its path.
func TestEveryFileThatIsNotInOrderIsFound(t *testing.T) {
	t.Parallel()
	const git = "environments/g/"
	write := func(name string) func(*scene) { return func(s *scene) { s.write(name, text("app", "")) } }
	remove := func(name string) func(*scene) { return func(s *scene) { s.remove(name) } }
	for want, spoil := range map[string]func(s *scene){
		"app/app.service.yaml is in the target of f":                                 write("folder/app/app.service.yaml"),
		"app/app.deployment.apps.yaml is in the target of f":                         write("folder/" + manifest("app")),
		"app/ is in the target of f":                                                 func(s *scene) { s.write("folder/app/x", ""); s.remove("folder/app/x") },
		"new/more.yaml is in the target of f":                                        write("folder/new/more.yaml"),
		"new/postgres-new-89abcdef.service.yaml is in the target of f":               write("folder/new/postgres-new-89abcdef.service.yaml"),
		"new/postgres-app.statefulset.apps.yaml is in the target of f":               write("folder/new/postgres-app-0123abcd.statefulset.apps.yaml"),
		"_shared/other.configmap.yaml is in the target of f":                         write("folder/_shared/other.configmap.yaml"),
		"README is in the target of f":                                               write("folder/README"),
		"new/new.service.yaml is missing in the target of f":                         remove("folder/new/new.service.yaml"),
		"new/postgres-new.secret.yaml is missing in the target of f":                 remove("folder/new/postgres-new-0123abcd.secret.yaml"),
		"_shared/common-all.configmap.yaml is missing in the target of f":            remove("folder/_shared/common-all.configmap.yaml"),
		"new/new.service.yaml in the target of f is not what":                        write("folder/new/new.service.yaml"),
		"new/new.deployment.apps.yaml in the target of f is not what":                func(s *scene) { s.write("folder/"+manifest("new"), text("new", "s000003 s000002")) },
		"secrets:app/postgres-app.secret.yaml is in the target of g":                 write("secrets/app/postgres-app-0123abcd.secret.yaml"),
		"secrets:new/postgres-new.secret.yaml is missing in the target of g":         remove("secrets/new/postgres-new-0123abcd.secret.yaml"),
		git + "_applications/_shared.yaml is missing in the target of g":             func(s *scene) { s.last(func() { s.remove("deploy/" + git + "_applications/_shared.yaml") }) },
		git + "_applications/app.yaml is in the target of g":                         func(s *scene) { s.last(func() { s.write("deploy/"+git+"_applications/app.yaml", text("app", "")) }) },
		git + "new/postgres-new.secret.yaml is in the target of g":                   func(s *scene) { s.last(func() { s.write("deploy/"+git+"new/postgres-new-0123abcd.secret.yaml", "") }) },
		"generation 3 of new and leaves " + git + "app/app.service.yaml":             func(s *scene) { s.last(func() { s.write("deploy/"+git+"app/app.service.yaml", "") }) },
		"generation 3 of new and leaves " + git + "_applications/app.yaml":           func(s *scene) { s.last(func() { s.write("deploy/"+git+"_applications/app.yaml", "") }) },
		"generation 3 of new and does not bring " + git + "new/new.service.yaml":     func(s *scene) { s.last(func() { s.remove("deploy/" + git + "new/new.service.yaml") }) },
		"old.yaml is in the target of g":                                             func(s *scene) { s.last(func() { s.write("deploy/old.yaml", "") }) },
		"app in f was [s000001 s000002  s000002] over time; number 4 is out of orde": func(s *scene) { s.Folders["f"].Observed["app"] = []string{"s000001", "s000002", "", "s000002"} },
		git + "_shared/common-all.configmap.yaml is in the target of g":              (*scene).unshare,
		git + "_applications/_shared.yaml is in the target of g":                     (*scene).unshare,
		"target of f, and no application that is deployed has it":                    (*scene).unshare,
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			s := newRenamedScene(t)
			spoil(s)
			if found := s.check(); !slices.ContainsFunc(found, func(v string) bool { return strings.Contains(v, want) }) {
				t.Errorf("not found; found is %q", found)
			}
		})
	}
}

// unshare has the newest Score file say nothing of what several applications share.
func (s *scene) unshare() {
	s.Helper()
	for n := range s.history.releases {
		if r := s.history.releases[n]; n.generation == 3 {
			s.write("app/app/score.yaml", scoreText("new", 3, "")+"db: {type: postgres}\n")
			r.Commit = s.commit("app", "Share nothing")
			s.history.releases[n] = r
		}
	}
}

// A repository and an application of each target are counted, and so is what has another name.
func TestRenamesAndSharedObjectsAreCounted(t *testing.T) {
	t.Parallel()
	s := newRenamedScene(t)
	s.check()
	got := fmt.Sprint(s.Numbers["renames"], s.Numbers["shared objects that came"], s.Numbers["shared objects that went"])
	if got != "2 1 0" {
		t.Errorf("renames, shared objects that came and went are %s", got)
	}
}

// Where people went back, what is deployed with something broken stays as it is, as long as its file says so.
func TestWhatIsKeptBackMayStayAsItWasApplied(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mate  string
		suite string
		found bool
	}{
		"its mate is broken":            {"# broken\n", "suite", false},
		"its mate is in order":          {"", "suite", true},
		"it is not deployed with it":    {"# broken\n", "", true},
		"it is deployed with something": {"# broken\n", "other", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.write("app/mate/score.yaml", c.mate+scoreText("mate", 2, ""))
			s.commit("app", "Break")
			s.history.applications[9] = applicationRow{ID: 9, Environment: "f", Name: "mate", Path: "mate/score.yaml", Repository: "o/r", Generation: 1, Applied: 1}
			s.history.runs = append(s.history.runs, runRow{ID: 91, Application: 9, Generation: 1, Environment: "f", Name: "mate", Repository: "o/r", Kind: "deploy", State: "succeeded", Atomic: "suite"})
			got, err := s.checkApplication(t.Context(), s.history.applications[2], scoreFile{path: "app/score.yaml", name: "app", serial: "s000009", suite: c.suite})
			if err != nil {
				t.Fatal(err)
			}
			if found := len(s.Violations) > 0; found != c.found || !found && got.may[0].serial != "s000002" {
				t.Errorf("violations: %q, it stands as %+v", s.Violations, got)
			}
		})
	}
}

// A second commit of a generation is in order only where a second attempt takes away what nobody shares any more, or writes nothing.
func TestASecondCommitOfAGenerationOnlyFinishesIt(t *testing.T) {
	t.Parallel()
	c := &checker{Evidence: Evidence{InGit: "g"}}
	const shared, own = "environments/g/" + common, "environments/g/app/app.service.yaml"
	for name, test := range map[string]struct {
		changed map[string]string
		tried   int64
		want    bool
	}{
		"nothing":                    {nil, 1, true},
		"shared, in a second try":    {map[string]string{shared: "D"}, 2, true},
		"shared, in the first try":   {map[string]string{shared: "D"}, 1, false},
		"shared, and put there anew": {map[string]string{shared: "A"}, 2, false},
		"shared, and its own":        {map[string]string{shared: "D", own: "D"}, 2, false},
		"its own":                    {map[string]string{own: "M"}, 2, false},
	} {
		if got := c.finishes(commit{changed: test.changed}, runRow{Tried: test.tried}); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
