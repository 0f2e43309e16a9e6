package gitea_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/forgetest"
	"github.com/innominatus/reconciler/pkg/forge/gitea"
)

func TestMain(m *testing.M) {
	testenv.Main(m)
}

func TestGiteaKeepsThePromisesOfAForge(t *testing.T) {
	t.Parallel()
	forgetest.Run(t, func(t *testing.T) (forge.Forge, forgetest.World) {
		w := &world{server: testenv.Gitea(t)}
		w.org = w.server.NewOrg(t)
		w.person = w.server.NewAccount(t, "all")
		return gitea.New(w.server.URL, w.server.Bot.Token), w
	})
}

// world is a real Gitea, with a proxy in front of it where it must misbehave.
type world struct {
	server *testenv.GiteaServer
	org    string
	person testenv.Account

	mu    sync.Mutex
	repos map[string]testenv.Repo
	count int
}

var _ forgetest.World = (*world)(nil)

func (w *world) repo(name string) testenv.Repo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.repos[name]
}

func (w *world) unique(kind string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	return fmt.Sprintf("%s-%d", kind, w.count)
}

func (w *world) NewRepository(t *testing.T) string {
	r := w.server.NewRepo(t, w.org, true)
	w.server.Collaborate(t, r, w.person, "write")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.repos == nil {
		w.repos = map[string]testenv.Repo{}
	}
	w.repos[r.FullName()] = r
	return r.FullName()
}

func (w *world) NewCommit(t *testing.T, repository string) string {
	return w.server.Commit(t, w.repo(repository), testenv.Change{Files: map[string]string{w.unique("file"): "x"}})
}

func (w *world) OpenPull(t *testing.T, repository, title string, fork bool) forgetest.Opened {
	r, branch := w.repo(repository), w.unique("topic")
	source, head := r, branch
	if fork {
		source = w.server.Fork(t, r, w.person)
		head = w.person.Login + ":" + branch
	}
	commit := w.server.CommitAs(t, source, w.person, testenv.Change{Branch: branch, From: "main", Files: map[string]string{branch: "x"}})
	p := w.server.OpenPullAs(t, r, w.person, head, "main", title)
	return forgetest.Opened{Number: p.Number, Author: w.person.Login, HeadRef: branch, HeadCommit: commit}
}

func (w *world) MergePull(t *testing.T, repository string, number int64) string {
	return w.server.Merge(t, w.repo(repository), number)
}

func (w *world) ClosePull(t *testing.T, repository string, number int64) {
	w.server.ClosePull(t, w.repo(repository), number)
}

func (w *world) Statuses(t *testing.T, repository, commit string) map[string]forge.Status {
	out := map[string]forge.Status{}
	for name, s := range w.server.Statuses(t, w.repo(repository), commit) {
		out[name] = forge.Status{Context: s.Context, State: forge.State(s.State), Description: s.Description, URL: s.URL}
	}
	return out
}

func (w *world) WriteComment(t *testing.T, repository string, number int64, body string) (string, int64) {
	return w.person.Login, w.server.Comment(t, w.repo(repository), w.person, number, body)
}

func (w *world) DeleteComment(t *testing.T, repository string, id int64) {
	w.server.DeleteComment(t, w.repo(repository), id)
}

func (w *world) WrongToken(*testing.T) forge.Forge {
	return gitea.New(w.server.URL, "0123456789abcdef0123456789abcdef01234567")
}

func (w *world) Down(t *testing.T) forge.Forge {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close() // nobody listens at its address any more
	return gitea.New(server.URL, w.server.Bot.Token)
}

func TestWaitsUntilTheDateThatAForgeNames(t *testing.T) {
	t.Parallel()
	w := &world{server: testenv.Gitea(t)}
	f := w.behind(t, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Retry-After", time.Now().Add(time.Minute).UTC().Format(http.TimeFormat))
		rw.WriteHeader(http.StatusServiceUnavailable)
	})
	_, err := f.Self(t.Context())
	if got, ok := fault.As(err); !ok || got.After < 30*time.Second || got.After > time.Minute {
		t.Errorf("got %v with a wait of %s", err, got.After)
	}
}

func (w *world) Limited(t *testing.T, wait time.Duration) forge.Forge {
	return w.behind(t, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		rw.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
		rw.WriteHeader(http.StatusTooManyRequests)
	})
}

func (w *world) Garbled(t *testing.T) forge.Forge {
	return w.behind(t, func(rw http.ResponseWriter, _ *http.Request, _ http.Handler) {
		_, _ = io.WriteString(rw, "<html>We will be back soon.</html>") // the client may be gone
	})
}

// SmallPages does what the setting MAX_RESPONSE_ITEMS does: it lowers the size of pages that is asked for.
func (w *world) SmallPages(t *testing.T) forge.Forge {
	return w.behind(t, func(rw http.ResponseWriter, r *http.Request, server http.Handler) {
		query := r.URL.Query()
		if query.Has("limit") {
			query.Set("limit", strconv.Itoa(forgetest.SmallPage))
			r.URL.RawQuery = query.Encode()
		}
		server.ServeHTTP(rw, r)
	})
}

func (w *world) Hanging(t *testing.T) forge.Forge {
	return w.behind(t, func(_ http.ResponseWriter, r *http.Request, _ http.Handler) { <-r.Context().Done() })
}

// behind returns the forge behind a proxy that does what handle says.
func (w *world) behind(t *testing.T, handle func(http.ResponseWriter, *http.Request, http.Handler)) forge.Forge {
	t.Helper()
	target, err := url.Parse(w.server.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { handle(rw, r, proxy) }))
	t.Cleanup(server.Close)
	return gitea.New(server.URL, w.server.Bot.Token)
}
