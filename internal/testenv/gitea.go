package testenv

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// botScopes are the least scopes that the reconciler's token needs.
var botScopes = []string{"write:repository", "write:issue", "read:user"}

// mergeWait bounds how long Gitea may compute whether a pull request can be merged.
const mergeWait = time.Minute

// GiteaServer is a running Gitea with an administrator and a bot that has the least rights that are enough.
type GiteaServer struct {
	// URL has no slash at the end.
	URL string
	// Admin may do everything; tests act as it where a person would.
	Admin Account
	// Bot is who the reconciler is: a collaborator with write on every repository of [GiteaServer.NewRepo].
	Bot Account
}

// Account is a user with a token.
type Account struct {
	Login, Token string
	password     string
}

// Repo is a repository on a [GiteaServer].
type Repo struct {
	Owner, Name string
	// URL is the address for cloning, without credentials.
	URL    string
	server *GiteaServer
}

// FullName returns OWNER/NAME.
func (r Repo) FullName() string { return r.Owner + "/" + r.Name }

// GitURL returns the address for cloning and pushing with an account's credentials in it.
func (r Repo) GitURL(as Account) string {
	scheme, rest, _ := strings.Cut(r.URL, "://")
	return scheme + "://" + url.UserPassword(as.Login, as.Token).String() + "@" + rest
}

// Status is a commit status as Gitea keeps it.
type Status struct {
	ID          int64
	Context     string `json:"context"`
	State       string `json:"status"`
	Description string `json:"description"`
	URL         string `json:"target_url"`
}

// Comment is a comment on an issue or pull request.
type Comment struct {
	ID   int64
	Body string
	User struct{ Login string }
}

// PullRequest is a pull request as Gitea keeps it.
type PullRequest struct {
	Number      int64  `json:"number"`
	State       string `json:"state"`
	Merged      bool   `json:"merged"`
	MergeCommit string `json:"merge_commit_sha"`
	Head        struct{ Ref, Sha string }
	Base        struct{ Ref, Sha string }
}

// Change is a commit to make through the API.
type Change struct {
	// Branch is where it goes; "" means main. If From is set, Branch is made anew from that branch.
	Branch, From string
	// Files are written whole; Remove are paths to delete.
	Files  map[string]string
	Remove []string
	// Message is the commit's; "" means "Change".
	Message string
}

// NewAccount makes a user with a token of the scopes ("all" for every one) and returns it.
func (g *GiteaServer) NewAccount(t testing.TB, scopes ...string) Account {
	t.Helper()
	a, err := g.newAccount(t.Context(), unique("user"), scopes)
	must(t, err)
	return a
}

func (g *GiteaServer) newAccount(ctx context.Context, login string, scopes []string) (Account, error) {
	a := Account{Login: login, password: rand.Text()}
	err := g.call(ctx, g.Admin, http.MethodPost, "/admin/users", map[string]any{
		"username": a.Login, "password": a.password, "email": a.Login + "@example.com", "must_change_password": false,
	}, nil)
	if err != nil {
		return a, err
	}
	var token struct{ Sha1 string }
	err = g.call(ctx, Account{Login: a.Login, password: a.password}, http.MethodPost, "/users/"+a.Login+"/tokens",
		map[string]any{"name": "test", "scopes": scopes}, &token)
	a.Token = token.Sha1
	return a, err
}

// NewOrg makes an organisation with a name of its own and returns the name.
func (g *GiteaServer) NewOrg(t testing.TB) string {
	t.Helper()
	name := unique("org")
	must(t, g.call(t.Context(), g.Admin, http.MethodPost, "/orgs", map[string]any{"username": name, "visibility": "public"}, nil))
	return name
}

// NewRepo makes a repository in an organisation, with a branch main that holds a README, and lets the bot write.
func (g *GiteaServer) NewRepo(t testing.TB, owner string, private bool) Repo {
	t.Helper()
	r := Repo{Owner: owner, Name: unique("repo"), server: g}
	r.URL = g.URL + "/" + r.FullName() + ".git"
	must(t, g.call(t.Context(), g.Admin, http.MethodPost, "/orgs/"+owner+"/repos",
		map[string]any{"name": r.Name, "private": private, "auto_init": true, "default_branch": "main"}, nil))
	g.Collaborate(t, r, g.Bot, "write")
	return r
}

// Collaborate gives an account a right on a repository: read, write or admin.
func (g *GiteaServer) Collaborate(t testing.TB, r Repo, a Account, right string) {
	t.Helper()
	must(t, g.call(t.Context(), g.Admin, http.MethodPut, r.api("/collaborators/"+a.Login), map[string]any{"permission": right}, nil))
}

// Delete deletes a repository.
func (g *GiteaServer) Delete(t testing.TB, r Repo) {
	t.Helper()
	must(t, g.call(t.Context(), g.Admin, http.MethodDelete, r.api(""), nil, nil))
}

// Fork forks a repository into an account's own space.
func (g *GiteaServer) Fork(t testing.TB, r Repo, as Account) Repo {
	t.Helper()
	fork := Repo{Owner: as.Login, Name: unique("fork"), server: g}
	fork.URL = g.URL + "/" + fork.FullName() + ".git"
	must(t, g.call(t.Context(), as, http.MethodPost, r.api("/forks"), map[string]any{"name": fork.Name}, nil))
	return fork
}

// AddHook lets a repository send events to an address, signed with the secret; no events mean those that the
// reconciler wants.
func (g *GiteaServer) AddHook(t testing.TB, r Repo, address, secret string, events ...string) {
	t.Helper()
	g.addHook(t, r, address, secret, "json", events)
}

// AddFormHook is [GiteaServer.AddHook] with bodies that are forms, which is what people get who do not look.
func (g *GiteaServer) AddFormHook(t testing.TB, r Repo, address, secret string, events ...string) {
	t.Helper()
	g.addHook(t, r, address, secret, "form", events)
}

func (g *GiteaServer) addHook(t testing.TB, r Repo, address, secret, contentType string, events []string) {
	t.Helper()
	if len(events) == 0 {
		events = []string{"push", "delete", "pull_request", "pull_request_sync", "pull_request_comment"}
	}
	must(t, g.call(t.Context(), g.Admin, http.MethodPost, r.api("/hooks"), map[string]any{
		"type": "gitea", "active": true, "events": events,
		"config": map[string]string{"url": address, "secret": secret, "content_type": contentType},
	}, nil))
}

// Commit makes a commit as the administrator and returns its id.
func (g *GiteaServer) Commit(t testing.TB, r Repo, c Change) string {
	t.Helper()
	return g.CommitAs(t, r, g.Admin, c)
}

// CommitAs makes a commit as an account and returns its id.
func (g *GiteaServer) CommitAs(t testing.TB, r Repo, as Account, c Change) string {
	t.Helper()
	branch := c.Branch
	if branch == "" {
		branch = "main"
	}
	body := map[string]any{"branch": branch, "message": c.Message}
	if c.Message == "" {
		body["message"] = "Change"
	}
	source := branch
	if c.From != "" {
		source = c.From
		body["branch"], body["new_branch"] = c.From, branch
	}
	var files []map[string]string
	for _, path := range slices.Sorted(maps.Keys(c.Files)) {
		content := base64.StdEncoding.EncodeToString([]byte(c.Files[path]))
		files = append(files, map[string]string{"operation": "upload", "path": path, "content": content})
	}
	for _, path := range c.Remove {
		var there struct{ Sha string }
		must(t, g.call(t.Context(), as, http.MethodGet, r.api("/contents/"+path+"?ref="+url.QueryEscape(source)), nil, &there))
		files = append(files, map[string]string{"operation": "delete", "path": path, "sha": there.Sha})
	}
	body["files"] = files
	var answer struct{ Commit struct{ Sha string } }
	must(t, g.call(t.Context(), as, http.MethodPost, r.api("/contents"), body, &answer))
	return answer.Commit.Sha
}

// Head returns the commit that a branch is at.
func (g *GiteaServer) Head(t testing.TB, r Repo, branch string) string {
	t.Helper()
	var answer struct{ Commit struct{ ID string } }
	must(t, g.call(t.Context(), g.Admin, http.MethodGet, r.api("/branches/"+branch), nil, &answer))
	return answer.Commit.ID
}

// DeleteBranch deletes a branch.
func (g *GiteaServer) DeleteBranch(t testing.TB, r Repo, branch string) {
	t.Helper()
	must(t, g.call(t.Context(), g.Admin, http.MethodDelete, r.api("/branches/"+branch), nil, nil))
}

// OpenPull opens a pull request that merges head (BRANCH, or OWNER:BRANCH of a fork) into base and returns it.
func (g *GiteaServer) OpenPull(t testing.TB, r Repo, head, base, title string) PullRequest {
	t.Helper()
	return g.OpenPullAs(t, r, g.Admin, head, base, title)
}

// Pull returns a pull request.
func (g *GiteaServer) Pull(t testing.TB, r Repo, number int64) PullRequest {
	t.Helper()
	var p PullRequest
	must(t, g.call(t.Context(), g.Admin, http.MethodGet, r.api(fmt.Sprintf("/pulls/%d", number)), nil, &p))
	return p
}

// ClosePull closes a pull request without merging it.
func (g *GiteaServer) ClosePull(t testing.TB, r Repo, number int64) {
	t.Helper()
	must(t, g.call(t.Context(), g.Admin, http.MethodPatch, r.api(fmt.Sprintf("/pulls/%d", number)), map[string]any{"state": "closed"}, nil))
}

// Merge merges a pull request with a merge commit, whose id it returns. While Gitea still computes whether it can be
// merged, it is asked again.
func (g *GiteaServer) Merge(t testing.TB, r Repo, number int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), mergeWait)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := g.call(ctx, g.Admin, http.MethodPost, r.api(fmt.Sprintf("/pulls/%d/merge", number)), map[string]any{"Do": "merge"}, nil)
		if err == nil {
			return g.Pull(t, r, number).MergeCommit
		}
		var answer *GiteaError
		if !errors.As(err, &answer) || answer.Status != http.StatusMethodNotAllowed || !strings.Contains(answer.Body, "try again later") {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("merge pull request %d: %v: %v", number, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Statuses returns the newest status of each context on a commit, by context.
func (g *GiteaServer) Statuses(t testing.TB, r Repo, commit string) map[string]Status {
	t.Helper()
	var combined struct{ Statuses []Status }
	must(t, g.call(t.Context(), g.Admin, http.MethodGet, r.api("/commits/"+commit+"/status?limit=50"), nil, &combined))
	out := map[string]Status{}
	for _, s := range combined.Statuses {
		out[s.Context] = s
	}
	return out
}

// Comments returns the comments of an issue or pull request, the oldest first.
func (g *GiteaServer) Comments(t testing.TB, r Repo, number int64) []Comment {
	t.Helper()
	var list []Comment
	must(t, g.call(t.Context(), g.Admin, http.MethodGet, r.api(fmt.Sprintf("/issues/%d/comments", number)), nil, &list))
	return list
}

// Comment writes a comment as an account and returns its id.
func (g *GiteaServer) Comment(t testing.TB, r Repo, as Account, number int64, body string) int64 {
	t.Helper()
	var c Comment
	must(t, g.call(t.Context(), as, http.MethodPost, r.api(fmt.Sprintf("/issues/%d/comments", number)), map[string]any{"body": body}, &c))
	return c.ID
}

// DeleteComment deletes a comment.
func (g *GiteaServer) DeleteComment(t testing.TB, r Repo, id int64) {
	t.Helper()
	must(t, g.call(t.Context(), g.Admin, http.MethodDelete, r.api(fmt.Sprintf("/issues/comments/%d", id)), nil, nil))
}

// RenderComment returns the HTML that Gitea makes of a comment's Markdown in a repository.
func (g *GiteaServer) RenderComment(t testing.TB, r Repo, text string) string {
	t.Helper()
	html, err := g.ask(t.Context(), g.Admin, http.MethodPost, "/markdown", map[string]any{"Text": text, "Mode": "comment", "Context": "/" + r.FullName()})
	must(t, err)
	return string(html)
}

// OpenPullAs opens a pull request as an account.
func (g *GiteaServer) OpenPullAs(t testing.TB, r Repo, as Account, head, base, title string) PullRequest {
	t.Helper()
	var p PullRequest
	must(t, g.call(t.Context(), as, http.MethodPost, r.api("/pulls"), map[string]any{"head": head, "base": base, "title": title}, &p))
	return p
}

func (r Repo) api(path string) string { return "/repos/" + r.FullName() + path }

// unique returns a name that no other test has.
func unique(kind string) string { return fmt.Sprintf("%s-%d", kind, giteaServer.count.Add(1)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SetDefaultBranch makes another branch the default one, so that the old one can be deleted.
func (g *GiteaServer) SetDefaultBranch(t testing.TB, r Repo, branch string) error {
	t.Helper()
	return g.call(t.Context(), g.Admin, http.MethodPatch, r.api(""), map[string]any{"default_branch": branch}, nil)
}
