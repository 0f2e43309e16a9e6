package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// gitea reads Gitea's API.
type gitea struct{ url, token string }

// answerLimit bounds one answer of Gitea's.
const answerLimit = 30 * time.Second

func (g *gitea) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/api/v1"+path, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "token "+g.token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return json.NewDecoder(response.Body).Decode(out)
}

type status struct{ Context, Status, Description string }

// checkStatuses compares what Gitea shows with what the product wanted it to show, and that with what is true: every run
// is told, nothing is told as going on, and the newest commit of each repository has its end in both environments.
func (c *checker) checkStatuses(ctx context.Context) error {
	told := map[string]reportRow{}
	shown := map[string]map[string]status{}
	for _, r := range c.history.reports {
		if r.Kind != "status" {
			continue
		}
		c.Numbers["statuses"]++
		commit := r.Repository + "@" + r.Target
		told[commit+" "+r.Context] = r
		if shown[commit] == nil {
			var combined struct{ Statuses []status }
			if err := c.gitea.get(ctx, "/repos/"+r.Repository+"/commits/"+r.Target+"/status?limit=50", &combined); err != nil {
				return err
			}
			shown[commit] = map[string]status{}
			for _, s := range combined.Statuses {
				shown[commit][s.Context] = s
			}
		}
		s := shown[commit][r.Context]
		if s.Status != r.State || !strings.HasPrefix(r.Body, strings.TrimSuffix(s.Description, "…")) {
			c.violated("%s on %s is shown as %s %q, and should be %s %q", r.Context, commit, s.Status, s.Description, r.State, r.Body)
		}
		if !r.Sent {
			c.violated("%s on %s was never sent: %s %q", r.Context, commit, r.State, r.Body)
		}
		if r.State == "error" || r.State == "pending" {
			c.violated("%s on %s ends as %s: %q", r.Context, commit, r.State, r.Body)
		}
	}
	for _, r := range c.history.runs {
		if _, known := told[r.Repository+"@"+r.Commit+" "+c.context(r.Environment)]; !known {
			c.violated("run %d (%s in %s, generation %d) is told nowhere: there is no status on %s@%s", r.ID, r.Name, r.Environment, r.Generation, r.Repository, r.Commit)
		}
	}
	return c.checkHeads(ctx, told)
}

func (c *checker) context(environment string) string {
	return "reconciler/" + c.Instance + "/" + environment
}

func (c *checker) checkHeads(ctx context.Context, told map[string]reportRow) error {
	for repository, clone := range c.Clones {
		head, err := git(ctx, clone, "rev-parse", "origin/main")
		if err != nil {
			return err
		}
		head = strings.TrimSpace(head)
		list, err := git(ctx, clone, "ls-tree", "-r", "--name-only", head)
		if err != nil {
			return err
		}
		want := "success"
		for file := range strings.Lines(list) {
			if name, isScore := strings.CutSuffix(strings.TrimSpace(file), "/score.yaml"); isScore {
				f, err := c.score(ctx, repository, head, name)
				if err != nil {
					return err
				}
				if f.broken {
					want = "failure"
				}
			}
		}
		for _, environment := range c.Environments[repository] {
			r := told[repository+"@"+head+" "+c.context(environment)]
			if must, may := c.failing(environment, repository, head); environment == c.Guided && want == "success" && (must || may && r.State == "failure") {
				want = "failure"
			}
			if r.State != want {
				c.violated("the newest commit %.7s of %s has the status %q in %s, want %s: %q", head, repository, r.State, environment, want, r.Body)
			}
		}
	}
	return nil
}

// failing says whether a commit must be told as failed, because an application's newest run for it is; and whether it may
// be, because what an application was asked to be last failed: a later commit that found that run under way tells of it, too.
func (c *checker) failing(environment, repository, commit string) (must, may bool) {
	ofCommit, tried := map[int64]runRow{}, map[int64]runRow{}
	for _, r := range c.history.runs { // by generation
		if r.Environment != environment || r.Repository != repository || r.Kind != "deploy" {
			continue
		}
		tried[r.Application] = r
		if r.Commit == commit {
			ofCommit[r.Application] = r
		}
	}
	for _, r := range ofCommit {
		must = must || r.State == "failed"
	}
	for _, r := range tried {
		may = may || r.State == "failed"
	}
	return must, may
}

type comment struct {
	Body string
	User struct{ Login string }
}

type pull struct {
	Number int64
	State  string
	Head   struct{ Sha string }
}

// checkComments looks at every pull request: it has at most one comment of the product, one where the product had something
// to say, and that is the newest.
func (c *checker) checkComments(ctx context.Context) error {
	wanted := map[string]reportRow{}
	for _, r := range c.history.reports {
		if r.Kind == "comment" {
			wanted[r.Repository+"#"+r.Target] = r
		}
	}
	known := map[string]pullRow{}
	for _, p := range c.history.pulls {
		known[fmt.Sprintf("%s#%d", p.Repository, p.Number)] = p
	}
	for repository := range c.Clones {
		var list []pull
		for page := 1; page == 1 || len(list)%50 == 0 && len(list) > 0; page++ {
			var more []pull
			if err := c.gitea.get(ctx, fmt.Sprintf("/repos/%s/pulls?state=all&limit=50&page=%d", repository, page), &more); err != nil {
				return err
			}
			if len(more) == 0 {
				break
			}
			list = append(list, more...)
		}
		for _, p := range list {
			name := fmt.Sprintf("%s#%d", repository, p.Number)
			said, has := wanted[name]
			if err := c.checkPull(ctx, repository, p, said, has); err != nil {
				return err
			}
			// A merge that was seen and evaluated is told in the comment of its pull request.
			if row := known[name]; row.State == "merged" && c.history.evaluated[repository+"@"+row.MergeCommit] && !strings.Contains(said.Body, row.MergeCommit[:7]) {
				c.violated("the merge %.7s of pull request %s is not told: %q", row.MergeCommit, name, said.Body)
			}
		}
	}
	return nil
}

func (c *checker) checkPull(ctx context.Context, repository string, p pull, said reportRow, has bool) error {
	var all []comment
	if err := c.gitea.get(ctx, fmt.Sprintf("/repos/%s/issues/%d/comments", repository, p.Number), &all); err != nil {
		return err
	}
	c.Numbers["pull requests"]++
	var ours []comment
	for _, one := range all {
		if one.User.Login == c.Bot {
			ours = append(ours, one)
		}
	}
	c.Numbers["comments"] += len(ours)
	switch {
	case len(ours) > 1:
		c.violated("pull request %s#%d has %d comments", repository, p.Number, len(ours))
	case has && len(ours) == 0:
		c.violated("pull request %s#%d has lost its comment", repository, p.Number)
	case has && (strings.TrimSpace(ours[0].Body) != strings.TrimSpace(said.Body) || !said.Sent):
		c.violated("pull request %s#%d shows an old comment: %q instead of %q", repository, p.Number, ours[0].Body, said.Body)
	case p.State == "open" && !strings.Contains(said.Body, p.Head.Sha[:7]):
		c.violated("the comment on the open pull request %s#%d does not tell its head %.7s: %q", repository, p.Number, p.Head.Sha, said.Body)
	}
	return nil
}
