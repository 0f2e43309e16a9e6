//go:build chaos

package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/innominatus/reconciler/internal/chaos/check"
	"github.com/innominatus/reconciler/internal/testenv"
)

// Steps that ask the office are tried longer than the office is disturbed. One attempt asks the database, too, and outlives
// its slowness.
const sent = `timeout: 6s
    retry: {attempts: 20, wait: 200ms, limit: 2s}
    http: {method: POST, url: "http://OFFICE/do/`

// guidedPath is the way around a deployment in the third environment; OFFICE is its address. What is sent says for which release it is.
const guidedPath = `
description: Open a window, note it, ask for every other release, take seats, deploy, tell
steps:
  - id: open
    ` + sent + `open", body: {application: "${application}", generation: "${generation}", commit: "${commit}"}}
    outputs: {ticket: {type: integer, value: response.body.n}}
    compensate: {http: {method: POST, url: "http://OFFICE/undo/open", body: {application: "${application}", generation: "${generation}", commit: "${commit}", ticket: "${steps.open.ticket}"}}}
  - id: note
    ` + sent + `note", body: {application: "${application}", generation: "${generation}", commit: "${commit}"}}
  - id: never
    when: generation < 0
    ` + sent + `never", body: {application: "${application}", generation: "${generation}", commit: "${commit}"}}
  - {id: dwell, needs: [note], wait: 300ms}
  - {id: ask, needs: [open, dwell, never], when: generation % 2 == 0, approval: {within: 1m, text: "Deploy ${application}?"}}
  - {id: seats, needs: [ask], uses: seats, with: {sites: [eu, us], window: "${steps.open.ticket}"}}
  - {id: release, needs: [seats], uses: release}
  - id: tell
    needs: [release]
    ` + sent + `tell", body: {application: "${application}", generation: "${generation}", commit: "${commit}", seats: "${steps.seats.tickets}"}}
`

const seatsPath = `
params: {sites: {type: array}, window: {type: integer}}
steps:
  - id: site
    for_each: params.sites
    ` + sent + `site/${each.value}", body: {application: "${application}", generation: "${generation}", commit: "${commit}", window: "${params.window}"}}
    outputs: {ticket: {type: integer, value: response.body.n}}
    compensate: {http: {method: POST, url: "http://OFFICE/undo/site/${each.value}", body: {application: "${application}", generation: "${generation}", commit: "${commit}", ticket: "${steps.site.ticket}"}}}
outputs: {tickets: {type: array, value: steps.site.ticket}}
`

// busy is how often the office answers that it is, in parts of one; busyUndoing when it is asked to undo something, which must not
// let the rest overtake it.
const busy, busyUndoing = 0.1, 0.4

// guide is what stands beside the golden path: the office, what it refuses, and what people and faults did to runs.
type guide struct {
	office *testenv.Office

	mu sync.Mutex
	r  *rand.Rand
	// refused are what the office does not do, as STEP COMMIT APPLICATION.
	refused map[string]bool
	// cancelled are the runs that somebody tried to cancel.
	cancelled map[int64]bool
	// spans are when the office or the database could not be reached as ever.
	spans []check.Span
}

func newGuide(w *world, seed uint64) *guide {
	g := &guide{office: testenv.NewOffice(w.T), r: rand.New(rand.NewPCG(seed, 2)), refused: map[string]bool{}, cancelled: map[int64]bool{}}
	g.office.Remember(g.decide)
	w.toOffice = testenv.NewToxicProxy(w.T, strings.TrimPrefix(g.office.URL, "http://"))
	w.write("platform/environments/"+guided+".yaml", fmt.Sprintf("namespace: shop\ntarget:\n  directory: {path: %q}\npath: careful\n", w.path(guided)))
	w.write("platform/paths/careful.yaml", strings.ReplaceAll(guidedPath, "OFFICE", w.toOffice.Address))
	w.write("platform/paths/seats.yaml", strings.ReplaceAll(seatsPath, "OFFICE", w.toOffice.Address))
	return g
}

// decide is the office's answer to a new request.
func (g *guide) decide(r *http.Request, body []byte) int {
	var said struct{ Application, Commit string }
	if json.Unmarshal(body, &said) != nil {
		return http.StatusBadRequest
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	often := busy
	if strings.HasPrefix(r.URL.Path, "/undo/") {
		often = busyUndoing
	}
	switch {
	case g.r.Float64() < often:
		return http.StatusServiceUnavailable
	case g.refused[refusal(strings.TrimPrefix(r.URL.Path, "/do/"), said.Commit, said.Application)]:
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

func refusal(step, commit, application string) string { return step + " " + commit + " " + application }

// refuse has the office refuse a step of an application's run from now on.
func (g *guide) refuse(step, commit, application string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused[refusal(step, commit, application)] = true
}

// disturbed notes that something was not as ever since a time.
func (g *guide) disturbed(since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spans = append(g.spans, check.Span{From: since, To: time.Now()})
}

// evidence adds what is known of runs to what the checker may look at.
func (g *guide) evidence(e *check.Evidence) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e.Guided, e.Cancels, e.Disturbed = guided, g.cancelled, g.spans
	for _, r := range g.office.Record() {
		e.Office = append(e.Office, check.Request{At: r.At, Path: r.Path, Key: r.Key, Body: string(r.Body), Status: r.Status, Ticket: r.N, Again: r.Again})
	}
}

// run is what the API tells of one.
type run struct {
	ID                        int64
	Application, State, Waits string
	PausedBy                  string
}

func (r run) asks() bool { return strings.Contains(r.Waits, "approvals") }

// unanswered says that nobody answers what is asked about an application while there are faults: most such questions end with
// their time.
func (r run) unanswered() bool {
	return strings.HasSuffix(r.Application, "3") || strings.HasSuffix(r.Application, "7")
}

// guidedRuns returns the newest runs of the environment with a golden path that are in a state, the oldest first.
func (w *world) guidedRuns(state string) (list []run, err error) {
	var all []run
	_, err = w.api("GET", "/runs?limit=500&environment="+guided, nil, &all)
	for _, r := range all {
		if r.State == state {
			list = append([]run{r}, list...)
		}
	}
	return list, err
}

// steer does with runs what people do, and says what came of it and whether anything did.
func (w *world) steer(kind string, r *rand.Rand) (all string, done bool) {
	list, err := w.guidedRuns("running")
	if err != nil {
		return err.Error(), false
	}
	if kind == "go on" && !slices.ContainsFunc(list, func(r run) bool { return r.PausedBy != "" }) {
		all, _ = w.steer("pause", r) // and goes on the next time
		return all, false
	}
	var told []string
	do := func(r run, what string) {
		err := w.try(path.Join("/runs", fmt.Sprint(r.ID), what), map[string]string{})
		told, done = append(told, fmt.Sprintf("%s run %d of %s: %v", what, r.ID, r.Application, err)), done || err == nil
	}
	chosen := 0
	if len(list) > 0 {
		chosen = r.IntN(len(list))
	}
	// One that asks has not ended before it is told to.
	asks := slices.IndexFunc(list, run.asks)
	for i, r := range list {
		switch {
		case kind == "approve" && r.asks() && !r.unanswered(), kind == "reject" && r.asks() && !r.unanswered() && len(told) == 0:
			do(r, kind)
		case kind == "go on" && r.PausedBy != "":
			do(r, "resume")
		case kind == "pause" && i == chosen:
			do(r, kind)
		case kind == "cancel" && (i == chosen || i == asks):
			w.guide.mu.Lock()
			w.guide.cancelled[r.ID] = true
			w.guide.mu.Unlock()
			do(r, kind)
		}
	}
	return strings.Join(told, ", "), done
}

// leave answers all questions, and resumes what is paused.
func (w *world) leave() {
	list, err := w.guidedRuns("running")
	if err != nil {
		return // the next turn asks again
	}
	answer := func(r run, what, act string) {
		err := w.try(fmt.Sprintf("/runs/%d/%s", r.ID, what), map[string]string{})
		if w.note("%s run %d of %s: %v", what, r.ID, r.Application, err); err == nil {
			w.counts.add("act " + act)
		}
	}
	for _, r := range list {
		if r.PausedBy != "" {
			answer(r, "resume", "go on")
		}
		if r.asks() {
			answer(r, "approve", "approve")
		}
	}
}

// together changes two or three applications that are deployed all or none. Each time they are others: one that failed keeps back
// what it is deployed with, and nobody mends it. Now and then the office refuses one of them,
// before it is deployed or after.
func (a *author) together(serial int, r *rand.Rand) string {
	a.Helper()
	names := a.names()
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	names = names[:2+r.IntN(2)]
	a.group, a.suite = names, serial
	for _, name := range names {
		o := a.now(name, serial)
		o.suite = serial
		a.put(name, o)
	}
	commit := a.commit(fmt.Sprintf("together %v", names))
	told := fmt.Sprint(names)
	if r.IntN(5) < 2 {
		step := []string{"site/us", "tell"}[r.IntN(2)]
		a.guide.refuse(step, commit, a.called(names[0]))
		told += fmt.Sprintf(", %s of %s is refused", step, names[0])
	}
	a.git("push", "--quiet", "origin", "main")
	return told
}

// again changes one of those that were changed last to be deployed all or none: it joins them anew, or leaves them.
func (a *author) again(kind string, serial int) (told string, done bool) {
	a.Helper()
	if len(a.group) == 0 || !slices.Contains(a.names(), a.group[1]) {
		return "there is none", false
	}
	o := a.now(a.group[1], serial)
	if kind == "join" {
		o.suite = a.suite
	}
	a.put(a.group[1], o)
	a.push(kind+" "+a.group[1], false)
	return a.group[1], true
}
