// Package gitea is the [forge.Forge] for Gitea.
//
// The SDK has one context per client, untyped errors and no deadline: each call makes a client of its own on one shared
// HTTP client, and decides by the status code of the answer.
package gitea

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"code.gitea.io/sdk/gitea"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
)

const (
	// descriptionLimit keeps statuses readable; Gitea itself takes more.
	descriptionLimit = 255
	// commentLimit is below what Gitea takes and what other forges do, so that one comment fits all.
	commentLimit = 60_000
	// pageSize is the largest page that Gitea gives, if its administrator has not set a smaller one.
	pageSize = 50
	// pagesLimit bounds how many pages are read: 5,000 open pull requests, or fewer where pages are smaller.
	pagesLimit = 100
	// callTimeout bounds one call: Gitea answers in well under a second, a busy one in several.
	callTimeout = 20 * time.Second
	// longestWait bounds what a Retry-After may ask for.
	longestWait = 10 * time.Minute
)

// Client is Gitea with one account. It is safe for concurrent use.
type Client struct {
	url, token string
	http       *http.Client

	mu    sync.Mutex
	login string
}

var _ forge.Forge = (*Client)(nil)

// New returns a client; nothing is asked yet, so that the server may be down.
func New(url, token string) *Client {
	return &Client{url: strings.TrimSuffix(url, "/"), token: token, http: &http.Client{Timeout: callTimeout}}
}

// Capabilities implements [forge.Forge].
func (c *Client) Capabilities() forge.Capabilities {
	return forge.Capabilities{DescriptionLimit: descriptionLimit, CommentLimit: commentLimit}
}

// api returns a client of the SDK for one call. It does not ask for the server's version, which would be a call more.
func (c *Client) api(ctx context.Context) (*gitea.Client, error) {
	api, err := gitea.NewClient(c.url, gitea.SetGiteaVersion(""), gitea.SetToken(c.token), gitea.SetContext(ctx),
		gitea.SetHTTPClient(c.http), gitea.SetUserAgent("reconciler"))
	if err != nil {
		return nil, fault.New(fault.ForgeUnavailable, "gitea at %s: %w", c.url, err)
	}
	return api, nil
}

// Self implements [forge.Forge]. The login is asked once.
func (c *Client) Self(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.login != "" {
		return c.login, nil
	}
	api, err := c.api(ctx)
	if err != nil {
		return "", err
	}
	user, response, err := api.GetMyUserInfo()
	if err != nil {
		return "", c.failed("ask for our own account", response, err)
	}
	c.login = user.UserName
	return c.login, nil
}

// Pulls implements [forge.Forge].
func (c *Client) Pulls(ctx context.Context, repository string) ([]forge.Pull, error) {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return nil, err
	}
	var out []forge.Pull
	seen := map[int64]bool{}
	for page := 1; page > 0; {
		if page > pagesLimit {
			return nil, fault.New(fault.ForgeRejected, "%s has more than %d open pull requests", repository, len(out))
		}
		// The oldest first: what is opened meanwhile comes last, and moves nothing to a page that was read.
		list, response, err := api.ListRepoPullRequests(owner, name, gitea.ListPullRequestsOptions{
			ListOptions: gitea.ListOptions{Page: page, PageSize: pageSize}, State: gitea.StateOpen, Sort: "oldest",
		})
		if err != nil {
			return nil, c.failed("list pull requests of "+repository, response, err)
		}
		for _, p := range list {
			if !seen[p.Index] {
				seen[p.Index] = true
				out = append(out, pull(p))
			}
		}
		// The link to the next page decides, not the size of this one: administrators may set smaller pages.
		page = response.NextPage
	}
	return out, nil
}

// Pull implements [forge.Forge].
func (c *Client) Pull(ctx context.Context, repository string, number int64) (forge.Pull, error) {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return forge.Pull{}, err
	}
	p, response, err := api.GetPullRequest(owner, name, number)
	if err != nil {
		return forge.Pull{}, c.failed(fmt.Sprintf("read pull request %s#%d", repository, number), response, err)
	}
	return pull(p), nil
}

func pull(p *gitea.PullRequest) forge.Pull {
	out := forge.Pull{Number: p.Index, State: forge.Open, Title: p.Title}
	if p.Poster != nil {
		out.Author = p.Poster.UserName
	}
	if p.Head != nil {
		out.HeadRef, out.HeadCommit = p.Head.Ref, p.Head.Sha
	}
	if p.Base != nil {
		out.BaseRef = p.Base.Ref
	}
	// A deleted fork has no id any more: whatever is not surely ours counts as a fork.
	out.Fork = p.Head == nil || p.Base == nil || p.Head.RepoID != p.Base.RepoID
	switch {
	case p.HasMerged:
		out.State = forge.Merged
		if p.MergedCommitID != nil {
			out.MergeCommit = *p.MergedCommitID
		}
	case p.State != gitea.StateOpen:
		out.State = forge.Closed
	}
	return out
}

// SetStatus implements [forge.Forge].
func (c *Client) SetStatus(ctx context.Context, repository, commit string, s forge.Status) error {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return err
	}
	_, response, err := api.CreateStatus(owner, name, commit, gitea.CreateStatusOption{
		State: gitea.StatusState(s.State), TargetURL: s.URL, Description: s.Description, Context: s.Context,
	})
	if err != nil {
		// An unknown commit is answered with 500, which is no reason to ask again.
		if response != nil && response.StatusCode == http.StatusInternalServerError && c.lacks(ctx, owner, name, commit) {
			return fmt.Errorf("set status on %s@%s: %w", repository, commit, forge.ErrNotFound)
		}
		return c.failed(fmt.Sprintf("set status on %s@%s", repository, commit), response, err)
	}
	return nil
}

// lacks says that the forge surely does not have a commit.
func (c *Client) lacks(ctx context.Context, owner, name, commit string) bool {
	api, err := c.api(ctx)
	if err != nil {
		return false
	}
	_, response, err := api.GetSingleCommit(owner, name, commit)
	return err != nil && isNotFound(response)
}

// Comments implements [forge.Forge]. Gitea gives all of them at once.
func (c *Client) Comments(ctx context.Context, repository string, number int64) ([]forge.Comment, error) {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return nil, err
	}
	list, response, err := api.ListIssueComments(owner, name, number, gitea.ListIssueCommentOptions{})
	if err != nil {
		return nil, c.failedOnPull(api, pullAct{"list comments of", repository, number}, response, err)
	}
	out := make([]forge.Comment, 0, len(list))
	for _, comment := range list {
		author := ""
		if comment.Poster != nil {
			author = comment.Poster.UserName
		}
		out = append(out, forge.Comment{ID: comment.ID, Author: author, Body: comment.Body})
	}
	return out, nil
}

// CreateComment implements [forge.Forge].
func (c *Client) CreateComment(ctx context.Context, repository string, number int64, body string) (int64, error) {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return 0, err
	}
	comment, response, err := api.CreateIssueComment(owner, name, number, gitea.CreateIssueCommentOption{Body: body})
	if err != nil {
		return 0, c.failedOnPull(api, pullAct{"comment on", repository, number}, response, err)
	}
	return comment.ID, nil
}

// EditComment implements [forge.Forge].
func (c *Client) EditComment(ctx context.Context, repository string, number, id int64, body string) error {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return err
	}
	_, response, err := api.EditIssueComment(owner, name, id, gitea.EditIssueCommentOption{Body: body})
	if err != nil {
		return c.failed(fmt.Sprintf("edit comment %d on %s#%d", id, repository, number), response, err)
	}
	return nil
}

// DeleteComment implements [forge.Forge].
func (c *Client) DeleteComment(ctx context.Context, repository string, number, id int64) error {
	api, owner, name, err := c.at(ctx, repository)
	if err != nil {
		return err
	}
	act := fmt.Sprintf("delete comment %d on %s#%d", id, repository, number)
	response, err := api.DeleteIssueComment(owner, name, id)
	if err != nil {
		return c.failed(act, response, err)
	}
	// The SDK takes any page for a yes.
	if response.StatusCode != http.StatusNoContent {
		return fault.New(fault.ForgeUnavailable, "%s: HTTP %d is no answer to that", act, response.StatusCode)
	}
	return nil
}

// at returns what calls the API for a repository, and what the API calls that.
func (c *Client) at(ctx context.Context, repository string) (api *gitea.Client, owner, name string, err error) {
	owner, name, ok := strings.Cut(repository, "/")
	if !ok || owner == "" || name == "" {
		return nil, "", "", fault.New(fault.ForgeRejected, "%q is not OWNER/NAME", repository)
	}
	api, err = c.api(ctx)
	return api, owner, name, err
}

// failedOnPull is failed for a call about a pull request: Gitea answers with 500 when there is none, which is no reason
// to ask again.
func (c *Client) failedOnPull(api *gitea.Client, act pullAct, response *gitea.Response, err error) error {
	if response != nil && response.Response != nil && response.StatusCode == http.StatusInternalServerError {
		owner, name, _ := strings.Cut(act.repository, "/")
		if _, asked, err := api.GetPullRequest(owner, name, act.number); err != nil && isNotFound(asked) {
			return fmt.Errorf("%s: %w", act, forge.ErrNotFound)
		}
	}
	return c.failed(act.String(), response, err)
}

// pullAct is something done with a pull request.
type pullAct struct {
	what, repository string
	number           int64
}

// String returns the act for an error.
func (a pullAct) String() string { return fmt.Sprintf("%s %s#%d", a.what, a.repository, a.number) }

func isNotFound(response *gitea.Response) bool {
	return response != nil && response.Response != nil && response.StatusCode == http.StatusNotFound
}

// failed gives an error its class by the answer's status. The response is nil when there was no answer.
func (c *Client) failed(act string, response *gitea.Response, err error) error {
	if response == nil || response.Response == nil {
		return fault.New(fault.ForgeUnavailable, "%s: %w", act, err)
	}
	switch code := response.StatusCode; {
	case code == http.StatusNotFound:
		return fmt.Errorf("%s: %w", act, forge.ErrNotFound)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fault.New(fault.ForgeRefused, "%s: HTTP %d: %w", act, code, err)
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= http.StatusInternalServerError:
		return fault.New(fault.ForgeUnavailable, "%s: HTTP %d: %w", act, code, err).RetryAfter(retryAfter(response.Header, time.Now()))
	case code < http.StatusBadRequest:
		// It says yes but cannot be read: a proxy's own page, or an answer that was cut off.
		return fault.New(fault.ForgeUnavailable, "%s: the answer cannot be read: %w", act, err)
	default:
		return fault.New(fault.ForgeRejected, "%s: HTTP %d: %w", act, code, err)
	}
}

// retryAfter reads how long the forge asks to wait: seconds, or a date (RFC 9110, section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(value); err == nil {
		wait = time.Duration(min(max(seconds, 0), int(longestWait/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), longestWait)
}
