package testenv

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"
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

	// remember, if set, decides instead of answer; record is what was asked since, and known the first answer to each key.
	remember func(r *http.Request, body []byte) int
	record   []Entry
	known    map[string]Entry

	atOnce, most int
}

// Entry is a request in the record of an [Office], with its answer.
type Entry struct {
	At time.Time
	// Path is without the query, Key the Idempotency-Key.
	Path, Key string
	Body      []byte
	// Status and N are the answer.
	Status, N int
	// Again says that the key was known: nothing was done, and the answer is the one that it had before.
	Again bool
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
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // what was cut off in the middle asks for nothing
	}
	o.mu.Lock()
	o.asked = append(o.asked, what)
	o.keys[what] = append(o.keys[what], r.Header.Get("Idempotency-Key"))
	n, answer, h := len(o.keys[what]), o.answer, o.held
	if h.what == what {
		o.held = held{}
	}
	status := http.StatusOK
	if o.remember != nil {
		entry := o.enter(r, body, n)
		status, n, answer = entry.Status, entry.N, nil
	}
	o.atOnce++
	o.most = max(o.most, o.atOnce)
	o.mu.Unlock()
	if h.what == what {
		close(h.came)
		<-h.open
	}
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

// Remember lets the office keep a record from now on, and answer a key that it has answered as it did the first time. decide
// decides the status of each new request, 0 means 200; it must not call the office. What is answered 5xx was not done, and
// is decided anew the next time.
func (o *Office) Remember(decide func(r *http.Request, body []byte) int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remember, o.known = decide, map[string]Entry{}
}

// enter writes a request into the record.
func (o *Office) enter(r *http.Request, body []byte, n int) Entry {
	key := r.Header.Get("Idempotency-Key")
	e, again := o.known[key]
	status := e.Status
	if !again {
		e.N = n
		if status = o.remember(r, body); status == 0 {
			status = http.StatusOK
		}
	}
	e = Entry{At: time.Now(), Path: r.URL.Path, Key: key, Body: body, Status: status, N: e.N, Again: again}
	o.record = append(o.record, e)
	if status < http.StatusInternalServerError {
		o.known[key] = e
	}
	return e
}

// Record returns what was asked since [Office.Remember], in the order of coming.
func (o *Office) Record() []Entry {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.record)
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
