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

// checkStatuses compares what Gitea shows with what the product wanted it to show, and that with what is true: nothing is told
// as going on, and every commit as what became of it.
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
	return c.checkTold(ctx, told)
}

func (c *checker) context(environment string) string {
	return "reconciler/" + c.Instance + "/" + environment
}

// asking is a commit that asks for something in an environment.
type asking struct{ repository, environment, commit string }

// checkTold looks whether each run is told on its commit, and whether the commits that asked for runs, and the newest ones, are
// told as what became of them.
func (c *checker) checkTold(ctx context.Context, told map[string]reportRow) error {
	all := map[asking]bool{}
	for _, r := range c.history.runs {
		if _, known := told[r.Repository+"@"+r.Commit+" "+c.context(r.Environment)]; !known {
			c.violated("run %d (%s in %s, generation %d) is told nowhere: there is no status on %s@%s", r.ID, r.Name, r.Environment, r.Generation, r.Repository, r.Commit)
		} else if r.Kind != "rollback" {
			all[asking{r.Repository, r.Environment, r.Commit}] = true
		}
	}
	for repository, clone := range c.Clones {
		head, err := git(ctx, clone, "rev-parse", tip)
		if err != nil {
			return err
		}
		for _, environment := range c.Environments[repository] {
			all[asking{repository, environment, strings.TrimSpace(head)}] = true
		}
	}
	for a := range all {
		must, may, err := c.failing(ctx, a)
		if err != nil {
			return err
		}
		r, want := told[a.repository+"@"+a.commit+" "+c.context(a.environment)], "success"
		if must || may && r.State == "failure" {
			want = "failure"
		}
		c.Numbers["commits told as "+want]++
		if r.State != want {
			c.violated("the commit %.7s of %s has the status %q in %s, want %s: %q", a.commit, a.repository, r.State, a.environment, want, r.Body)
		}
	}
	return nil
}

// failing says whether a commit must be told as failed: a file of it is broken, or the newest run of an application that it asked
// for failed, whatever came after; one that was cancelled, taken back with others, or superseded did not fail. And whether it may
// be: what it asks for is what an earlier commit asked for, and failed.
func (c *checker) failing(ctx context.Context, a asking) (must, may bool, err error) {
	broken, err := contains(ctx, c.Clones[a.repository], a.commit, "^# broken")
	if err != nil || broken {
		return broken, false, err
	}
	asked := map[int64]runRow{}
	for _, r := range c.history.runs { // by generation
		if r.Environment != a.environment || r.Repository != a.repository || r.Kind == "rollback" {
			continue
		}
		if r.Commit == a.commit {
			asked[r.Application] = r
			continue
		}
		if r.State != "failed" || may {
			continue
		}
		f, err := c.scoreOf(ctx, a.repository, a.commit, r.Name)
		if err != nil {
			return false, false, err
		}
		is, err := c.expect(ctx, r.Application, r.Generation)
		if err != nil {
			return false, false, err
		}
		may = f.found() && f.serial == is
	}
	for _, r := range asked {
		must = must || r.State == "failed"
	}
	return must, may, nil
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
