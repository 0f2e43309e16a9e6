package webhooks_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/webhooks"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	secret = "a shared secret"
	// recorded is the repository of the recorded payloads.
	recorded = "acme/shop"
	// answerLimit is how fast a delivery must be answered.
	answerLimit = time.Second
	patience    = time.Minute
)

// post is a receiver behind a real server.
type post struct {
	t      *testing.T
	pool   *pgxpool.Pool
	server *httptest.Server

	mu    sync.Mutex
	hints []string
}

func newPost(t *testing.T, pool *pgxpool.Pool) *post {
	t.Helper()
	p := &post{t: t, pool: pool}
	receiver := &webhooks.Receiver{
		Pool: pool,
		Hooks: map[string]webhooks.Hook{
			"gitea": {Kind: "gitea", Secret: []byte(secret)}, "github": {Kind: "github", Secret: []byte(secret)}, "bare": {Kind: "gitea"},
		},
		Hint: func(_ context.Context, _ pgx.Tx, forge, repository string) error {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.hints = append(p.hints, forge+" "+repository)
			return nil
		},
		Fail: func(w http.ResponseWriter, _ *http.Request, status int, f *fault.Fault) {
			w.Header().Set("X-Code", string(f.Code))
			http.Error(w, f.Error(), status)
		},
		Tracer: noop.NewTracerProvider().Tracer("test"), Log: zerolog.Nop(),
	}
	receiver.Collectors()
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/{forge}", receiver)
	p.server = httptest.NewServer(mux)
	t.Cleanup(p.server.Close)
	return p
}

func (p *post) hinted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string{}, p.hints...)
}

// delivery is a request as a forge makes it; tests bend it.
type delivery struct {
	forge, contentType string
	headers            map[string]string
	body               io.Reader
}

// gitea is an authentic delivery of an event.
func gitea(event, id string, body []byte) delivery {
	return delivery{forge: "gitea", contentType: "application/json", body: bytes.NewReader(body), headers: map[string]string{
		"X-Gitea-Event": event, "X-Gitea-Delivery": id, "X-Gitea-Signature": sign(sha256.New, secret, body),
	}}
}

func sign(h func() hash.Hash, secret string, body []byte) string {
	mac := hmac.New(h, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

func payload(t testing.TB, name string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// send sends a delivery and returns the status and the fault's code.
func (p *post) send(d delivery) (status int, code fault.Code) {
	p.t.Helper()
	request, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.server.URL+"/webhooks/"+d.forge, d.body)
	if err != nil {
		p.t.Fatal(err)
	}
	request.Header.Set("Content-Type", d.contentType)
	for name, value := range d.headers {
		request.Header.Set(name, value)
	}
	response, err := p.server.Client().Do(request)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, fault.Code(response.Header.Get("X-Code"))
}

func (p *post) wants(what string, d delivery, status int, code fault.Code) {
	p.t.Helper()
	started := time.Now()
	gotStatus, gotCode := p.send(d)
	if gotStatus != status || gotCode != code {
		p.t.Errorf("%s: got %d %s, want %d %s", what, gotStatus, gotCode, status, code)
	}
	if took := time.Since(started); took > answerLimit {
		p.t.Errorf("%s: answered after %s", what, took)
	}
}

func TestRecordedEventsWakeTheirRepository(t *testing.T) {
	t.Parallel()
	for event, wakes := range map[string]bool{
		"push": true, "create": true, "delete": true, "pull_request": true, "pull_request_sync": true,
		"issue_comment": false, "status": false,
	} {
		t.Run(event, func(t *testing.T) {
			t.Parallel()
			p := newPost(t, testenv.Pool(t))
			p.wants(event, gitea(event, "1", payload(t, event)), http.StatusOK, "")
			want := []string{}
			if wakes {
				want = append(want, "gitea "+recorded)
			}
			if diff := cmp.Diff(want, p.hinted()); diff != "" {
				t.Errorf("hints (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusesWhatIsNotSigned(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	body := payload(t, "push")
	with := func(change func(*delivery)) delivery {
		d := gitea("push", "1", body)
		change(&d)
		return d
	}
	for what, d := range map[string]delivery{
		"no signature":   with(func(d *delivery) { delete(d.headers, "X-Gitea-Signature") }),
		"another secret": with(func(d *delivery) { d.headers["X-Gitea-Signature"] = sign(sha256.New, "other", body) }),
		"another body":   with(func(d *delivery) { d.body = strings.NewReader(string(body) + " ") }),
		"cut signature":  with(func(d *delivery) { d.headers["X-Gitea-Signature"] = d.headers["X-Gitea-Signature"][:62] }),
		"no hexadecimal": with(func(d *delivery) { d.headers["X-Gitea-Signature"] = strings.Repeat("z", 64) }),
		"SHA-1":          with(func(d *delivery) { d.headers["X-Gitea-Signature"] = sign(sha1.New, secret, body) }),
		"GitHub's header": with(func(d *delivery) {
			d.headers["X-Hub-Signature-256"] = "sha256=" + d.headers["X-Gitea-Signature"]
			delete(d.headers, "X-Gitea-Signature")
		}),
		"a hook for GitHub": with(func(d *delivery) {
			d.forge = "github"
			d.headers["X-GitHub-Event"], d.headers["X-GitHub-Delivery"] = "push", "1"
		}),
		"GitHub's SHA-1": with(func(d *delivery) {
			d.forge = "github"
			d.headers = map[string]string{"X-GitHub-Event": "push", "X-GitHub-Delivery": "1", "X-Hub-Signature": "sha1=" + sign(sha1.New, secret, body)}
		}),
		"a hook without a secret": with(func(d *delivery) { d.forge = "bare"; d.headers["X-Gitea-Signature"] = sign(sha256.New, "", body) }),
	} {
		p.wants(what, d, http.StatusUnauthorized, fault.HookSignature)
	}
	if got := p.hinted(); len(got) != 0 {
		t.Errorf("hints %v", got)
	}
	p.wants("the same id, signed", gitea("push", "1", body), http.StatusOK, "")
}

func TestAcceptsGitHubsSignature(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	form := []byte(url.Values{"payload": {string(payload(t, "push"))}}.Encode())
	for contentType, body := range map[string][]byte{"application/json": payload(t, "push"), "application/x-www-form-urlencoded": form} {
		p.wants(contentType, delivery{forge: "github", contentType: contentType, body: bytes.NewReader(body), headers: map[string]string{
			"X-GitHub-Event": "push", "X-GitHub-Delivery": contentType, "X-Hub-Signature-256": "sha256=" + sign(sha256.New, secret, body),
		}}, http.StatusOK, "")
	}
	if diff := cmp.Diff([]string{"github " + recorded, "github " + recorded}, p.hinted()); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}

func TestRefusesWhatIsNoWebhook(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	long := `{"repository":{"full_name":"` + strings.Repeat("a", 400) + `"}}`
	unknown := gitea("push", "1", payload(t, "push"))
	unknown.forge = "gitlab"
	p.wants("unknown forge", unknown, http.StatusNotFound, fault.HookUnknown)
	p.wants("no event", gitea("", "1", nil), http.StatusBadRequest, fault.HookEvent)
	p.wants("no id", gitea("push", "", nil), http.StatusBadRequest, fault.HookEvent)
	p.wants("long id", gitea("push", strings.Repeat("1", 300), nil), http.StatusBadRequest, fault.HookEvent)
	p.wants("odd id", gitea("push", "\xff", payload(t, "push")), http.StatusBadRequest, fault.HookEvent)
	p.wants("no JSON", gitea("push", "1", []byte("{")), http.StatusBadRequest, fault.HookPayload)
	p.wants("empty", gitea("push", "1", nil), http.StatusBadRequest, fault.HookPayload)
	p.wants("long name", gitea("push", "1", []byte(long)), http.StatusBadRequest, fault.HookPayload)
	p.wants("zero byte in name", gitea("push", "1", []byte(`{"repository":{"full_name":"a/b\u0000"}}`)), http.StatusBadRequest, fault.HookPayload)
	broken := gitea("push", "1", []byte("payload=%zz"))
	broken.contentType = "application/x-www-form-urlencoded"
	p.wants("broken form", broken, http.StatusBadRequest, fault.HookPayload)
}

func TestAcceptsUnknownEventsAndThoseWithoutARepository(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	p.wants("unknown event", gitea("something_new", "1", payload(t, "push")), http.StatusOK, "")
	p.wants("no repository", gitea("push", "2", []byte(`{"organization":{}}`)), http.StatusOK, "")
	if got := p.hinted(); len(got) != 0 {
		t.Errorf("hints %v", got)
	}
}

func TestRedeliveryGivesNoSecondHint(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	for range 3 {
		p.wants("delivery", gitea("push", "same", payload(t, "push")), http.StatusOK, "")
	}
	if got := p.hinted(); len(got) != 1 {
		t.Errorf("hints %v", got)
	}
}

// Whoever captured a signed body can send it again under another id, which nothing signs. It is a hint like any other:
// its repository is looked at, and looks that wait are one.
func TestReplayUnderAnotherIDIsAHintAndNoMore(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	body := payload(t, "push")
	p.wants("first", gitea("push", "one", body), http.StatusOK, "")
	before := p.hinted()
	p.wants("replay", gitea("push", "two", body), http.StatusOK, "")
	if got := p.hinted(); len(got) != len(before)+1 || got[len(got)-1] != before[0] {
		t.Errorf("hints %v, then %v", before, got)
	}
}

func TestDeliveryCountsAsSeenOnlyWithItsHint(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	broken := true
	receiver := &webhooks.Receiver{
		Pool: pool, Hooks: map[string]webhooks.Hook{"gitea": {Kind: "gitea", Secret: []byte(secret)}},
		Hint: func(context.Context, pgx.Tx, string, string) error {
			if broken {
				return io.ErrUnexpectedEOF
			}
			return nil
		},
		Fail:   func(w http.ResponseWriter, _ *http.Request, status int, _ *fault.Fault) { w.WriteHeader(status) },
		Tracer: noop.NewTracerProvider().Tracer("test"), Log: zerolog.Nop(),
	}
	receiver.Collectors()
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/{forge}", receiver)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	p := &post{t: t, pool: pool, server: server}
	p.wants("while the queue is broken", gitea("push", "1", payload(t, "push")), http.StatusServiceUnavailable, "")
	broken = false
	p.wants("again", gitea("push", "1", payload(t, "push")), http.StatusOK, "")
	var count int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM deliveries`).Scan(&count); err != nil || count != 1 {
		t.Errorf("%d deliveries, %v", count, err)
	}
}

func TestSaysThatTheDatabaseIsDown(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	p := newPost(t, pool)
	pool.Close()
	p.wants("database down", gitea("push", "1", payload(t, "push")), http.StatusServiceUnavailable, fault.Internal)
}

func TestRefusesBodiesThatAreTooLarge(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	d := gitea("push", "1", nil)
	d.body = io.LimitReader(zeros{}, 64<<20)
	p.wants("64 MB", d, http.StatusRequestEntityTooLarge, fault.HookTooLarge)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestCutsOffABodyThatNeverEnds(t *testing.T) {
	t.Parallel()
	p := newPost(t, testenv.Pool(t))
	body, feed := io.Pipe()
	t.Cleanup(func() { _ = feed.Close() }) // it is of this test alone
	go func() { _, _ = feed.Write([]byte("{")) }()
	d := gitea("push", "1", nil)
	d.body = body
	started := time.Now()
	status, code := p.send(d)
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("answered after %s", took)
	}
	if status != http.StatusBadRequest || code != fault.HookPayload {
		t.Errorf("got %d %s", status, code)
	}
}

func TestForgetsOldDeliveries(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	_, err := pool.Exec(t.Context(), `INSERT INTO deliveries (forge, delivery, event, received_at) VALUES
('gitea', 'old', 'push', now() - interval '8 days'), ('gitea', 'new', 'push', now() - interval '6 days')`)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&webhooks.Receiver{Pool: pool}).Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows, err := pool.Query(t.Context(), `SELECT delivery FROM deliveries`)
	if err != nil {
		t.Fatal(err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if diff := cmp.Diff([]string{"new"}, left); err != nil || diff != "" {
		t.Errorf("deliveries (-want +got): %v\n%s", err, diff)
	}
}

func TestTakesWhatARealGiteaSends(t *testing.T) {
	t.Parallel()
	server := testenv.Gitea(t)
	p := newPost(t, testenv.Pool(t))
	asJSON, asForm := server.NewRepo(t, server.NewOrg(t), true), server.NewRepo(t, server.NewOrg(t), true)
	server.AddHook(t, asJSON, p.server.URL+"/webhooks/gitea", secret)
	server.AddFormHook(t, asForm, p.server.URL+"/webhooks/gitea", secret)
	want := map[string]bool{}
	for _, r := range []testenv.Repo{asJSON, asForm} {
		server.Commit(t, r, testenv.Change{Files: map[string]string{"score.yaml": "x"}})
		want["gitea "+r.FullName()] = true
	}
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for len(want) > 0 {
		select {
		case <-tick.C:
			for _, hint := range p.hinted() {
				delete(want, hint)
			}
		case <-deadline:
			t.Fatalf("no hints %v", want)
		}
	}
}

func FuzzReceive(f *testing.F) {
	for _, name := range []string{"push", "pull_request", "issue_comment", "delete"} {
		f.Add("application/json", "push", payload(f, name))
	}
	f.Add("application/x-www-form-urlencoded", "push", []byte("payload=%7B%7D"))
	f.Add("application/x-www-form-urlencoded; charset=\xff", "push", []byte("payload=%"))
	f.Add("", "push", []byte(`{"repository":{"full_name":"a/\u0000"}}`))
	pool := testenv.Pool(f)
	var count int
	f.Fuzz(func(t *testing.T, contentType, event string, body []byte) {
		count++
		var hinted string
		receiver := &webhooks.Receiver{
			Pool: pool, Hooks: map[string]webhooks.Hook{"gitea": {Kind: "gitea", Secret: []byte(secret)}},
			Hint:   func(_ context.Context, _ pgx.Tx, _, repository string) error { hinted = repository; return nil },
			Fail:   func(w http.ResponseWriter, _ *http.Request, status int, _ *fault.Fault) { w.WriteHeader(status) },
			Tracer: noop.NewTracerProvider().Tracer("test"), Log: zerolog.Nop(),
		}
		receiver.Collectors()
		covered := body
		if form, err := url.ParseQuery(string(body)); err == nil && strings.HasPrefix(contentType, "application/x-www-form-urlencoded") {
			covered = []byte(form.Get("payload"))
		}
		request := httptest.NewRequest(http.MethodPost, "/webhooks/gitea", bytes.NewReader(body))
		request.SetPathValue("forge", "gitea")
		request.Header["Content-Type"] = []string{contentType}
		request.Header["X-Gitea-Event"] = []string{event}
		request.Header["X-Gitea-Delivery"] = []string{fmt.Sprint(os.Getpid(), "-", count)}
		request.Header["X-Gitea-Signature"] = []string{sign(sha256.New, secret, covered)}
		answer := httptest.NewRecorder()
		receiver.ServeHTTP(answer, request)
		if answer.Code >= http.StatusInternalServerError {
			t.Errorf("HTTP %d for %q %q", answer.Code, event, body)
		}
		if strings.ContainsAny(hinted, "\x00 \n") {
			t.Errorf("hint for %q", hinted)
		}
	})
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
