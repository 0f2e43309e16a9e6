package testenv

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
)

// Office is an HTTP server that golden paths speak to. What it is asked for is "METHOD PATH", the query included. It answers
// in JSON: n, how often it was asked for this by now, and path, without the query.
type Office struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	keys  map[string][]string
	// answer, if set, decides a status; 0 means 200.
	answer func(r *http.Request, n int) int
	held   held

	atOnce, most int
}

// held is what the next request for it waits for.
type held struct {
	what       string
	came, open chan struct{}
}

// NewOffice starts one that ends with the test.
func NewOffice(t testing.TB) *Office {
	o := &Office{keys: map[string][]string{}}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

func (o *Office) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	what := r.Method + " " + r.URL.RequestURI()
	o.mu.Lock()
	o.asked = append(o.asked, what)
	o.keys[what] = append(o.keys[what], r.Header.Get("Idempotency-Key"))
	n, answer, h := len(o.keys[what]), o.answer, o.held
	if h.what == what {
		o.held = held{}
	}
	o.atOnce++
	o.most = max(o.most, o.atOnce)
	o.mu.Unlock()
	if h.what == what {
		close(h.came)
		<-h.open
	}
	status := http.StatusOK
	if answer != nil {
		if s := answer(r, n); s != 0 {
			status = s
		}
	}
	o.mu.Lock()
	o.atOnce--
	o.mu.Unlock()
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(map[string]any{"n": n, "path": r.URL.Path}) // Who asked may be gone.
}

// On has a function decide the status of each answer from now on; 0 means 200. n is how often this was asked for by now.
func (o *Office) On(answer func(r *http.Request, n int) int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = answer
}

// Hold holds the next request for something until open is called; came waits until it is there.
func (o *Office) Hold(what string) (came, open func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	h := held{what: what, came: make(chan struct{}), open: make(chan struct{})}
	o.held = h
	return func() { <-h.came }, func() { close(h.open) }
}

// Asked returns what it was asked for, in the order of coming.
func (o *Office) Asked() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

// Keys returns the idempotency keys of the requests for something, in the order of coming.
func (o *Office) Keys(what string) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.keys[what])
}

// Most returns how many requests were under way at once, at most.
func (o *Office) Most() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.most
}
