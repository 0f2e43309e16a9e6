package status_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/fake"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/status"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	repository = "gitea/shop/checkout"
	// onForge is the repository's name there.
	onForge = "shop/checkout"
	// patience bounds how long a state may take to come about on a busy machine.
	patience = 30 * time.Second
)

// desk is an outbox with a queue and a forge of its own.
type desk struct {
	t        *testing.T
	pool     *pgxpool.Pool
	forge    *fake.Forge
	outbox   *status.Outbox
	queue    *queue.Queue
	commit   string
	pull     int64
	registry *prometheus.Registry
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, pool: testenv.Pool(t), forge: fake.New(), registry: prometheus.NewRegistry()}
	d.commit = d.forge.AddRepository(onForge)
	d.pull = d.forge.AddPull(onForge, forge.Pull{Title: "One"}).Number
	d.queue = queue.New(d.pool, queue.Config{Workers: 4, Poll: 20 * time.Millisecond, Random: func() float64 { return 0 }})
	d.outbox = &status.Outbox{
		Pool: d.pool, Queue: d.queue, Log: zerolog.New(zerolog.NewTestWriter(t)),
		Forge: func(context.Context, string) (forge.Forge, string, error) { return d.forge, onForge, nil },
		Redact: func(s string) string {
			return strings.ReplaceAll(s, "hunter2hunter2", "(secret)")
		},
		Marker: func(repository string, pull int64) string {
			return fmt.Sprintf("<!-- reconciler:v1 %s#%d -->", repository, pull)
		},
	}
	d.registry.MustRegister(d.outbox.Collectors()...)
	d.queue.Handle(status.JobKind, d.outbox.Handler())
	return d
}

// run lets the queue work until the test ends or stop is called.
func (d *desk) run() (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	q, done := d.queue, make(chan struct{})
	go func() {
		defer close(done)
		if err := q.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			d.t.Errorf("queue: %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	d.t.Cleanup(stop)
	return stop
}

func (d *desk) say(reports ...status.Report) {
	d.t.Helper()
	if err := pgx.BeginFunc(d.t.Context(), d.pool, func(tx pgx.Tx) error { return d.outbox.Say(d.t.Context(), tx, reports...) }); err != nil {
		d.t.Fatal(err)
	}
}

// settled waits until nothing is left to be sent.
func (d *desk) settled() {
	d.t.Helper()
	d.until("everything is sent", func() bool {
		count, _, err := d.outbox.Backlog(d.t.Context(), d.pool)
		if err != nil {
			d.t.Fatal(err)
		}
		return count == 0
	})
}

func (d *desk) until(what string, is func() bool) {
	d.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline.C:
			d.t.Fatalf("waited in vain until %s; calls: %+v", what, d.forge.Calls())
		case <-tick.C:
		}
	}
}

type row struct {
	Version, Sent int64
	Attempts      int
	Dead          bool
	Fault         *fault.Fault
}

func (d *desk) row(r status.Report) row {
	d.t.Helper()
	rows, err := d.pool.Query(d.t.Context(), `SELECT version, sent, attempts, dead, fault FROM reports
WHERE repository = $1 AND kind = $2 AND target = $3 AND context = $4`, r.Repository, r.Kind, r.Target, r.Context)
	if err != nil {
		d.t.Fatal(err)
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[row])
	if err != nil {
		d.t.Fatal(err)
	}
	return out
}

func (d *desk) metric(kind, outcome string) float64 {
	d.t.Helper()
	families, err := d.registry.Gather()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["kind"] == kind && labels["outcome"] == outcome {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func (d *desk) status(context string, state forge.State) status.Report {
	return status.Report{
		Repository: repository, Kind: status.KindStatus, Target: d.commit, Context: context, State: state,
		Body: "it is " + string(state), URL: "https://reconciler.example/r/1",
	}
}

func (d *desk) comment(text string) status.Report {
	return status.Report{
		Repository: repository, Kind: status.KindComment, Target: fmt.Sprint(d.pull), Body: d.outbox.Marker(repository, d.pull) + "\n" + text,
	}
}

func (d *desk) comments() []string {
	d.t.Helper()
	list, err := d.forge.Comments(d.t.Context(), onForge, d.pull)
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for _, c := range list {
		_, text, _ := strings.Cut(c.Body, "\n")
		out = append(out, text)
	}
	return out
}

func TestSaysNothingTwice(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run()
	ok, text := d.status("reconciler/eu/prod", forge.Success), d.comment("the plan")
	for range 3 {
		d.say(ok, text)
		d.settled()
	}
	if got := d.forge.Calls(); len(got) != 2 {
		t.Errorf("the forge was called %d times: %+v", len(got), got)
	}
	if got := d.row(ok); got.Version != 1 || got.Sent != 1 {
		t.Errorf("the row moved: %+v", got)
	}
	want := map[string]forge.Status{ok.Context: {Context: ok.Context, State: forge.Success, Description: ok.Body, URL: ok.URL}}
	if diff := cmp.Diff(want, d.forge.Statuses(onForge, d.commit)); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
}

func TestSaysOnlyTheNewest(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.say(d.status("c", forge.Pending))
	d.say(d.status("c", forge.Failure))
	d.say(d.status("c", forge.Success))
	d.run()
	d.settled()
	if got := d.forge.Calls(); len(got) != 1 || got[0].State != forge.Success {
		t.Errorf("calls %+v", got)
	}
}

func TestSaysWhatChangedWhileTheOldWasOnItsWay(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	entered, leave := make(chan struct{}, 10), make(chan struct{})
	d.forge.Before(func(_ context.Context, c fake.Call) error {
		if c.State == forge.Pending {
			entered <- struct{}{}
			<-leave
		}
		return nil
	})
	d.run()
	d.say(d.status("c", forge.Pending))
	<-entered
	d.say(d.status("c", forge.Success))
	close(leave)
	d.settled()
	if got := d.forge.Statuses(onForge, d.commit)["c"].State; got != forge.Success {
		t.Errorf("the last word is %s", got)
	}
}

func TestSaysFailuresAndQuestionsFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.queue = queue.New(d.pool, queue.Config{Workers: 1, Poll: 20 * time.Millisecond})
	d.queue.Handle(status.JobKind, d.outbox.Handler())
	question := d.status("question", forge.Pending)
	question.Asks = true
	d.say(d.status("pending", forge.Pending), d.status("success", forge.Success), d.comment("text"), d.status("failure", forge.Failure), question)
	d.run()
	d.settled()
	var got []string
	for _, c := range d.forge.Calls() {
		got = append(got, c.Method+" "+string(c.State))
	}
	want := []string{"SetStatus failure", "SetStatus pending", "CreateComment ", "SetStatus success", "SetStatus pending"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestFindsItsCommentAfterACrashBetweenWritingAndNoting(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	// A person quotes our comment, marker and all: it is not ours.
	quoted := d.comment("quoted")
	d.forge.AddComment(onForge, d.pull, "mallory", quoted.Body)
	var lost atomic.Bool
	d.forge.After(func(c fake.Call) error {
		if c.Method == "CreateComment" && lost.CompareAndSwap(false, true) {
			return fault.New(fault.ForgeUnavailable, "connection reset")
		}
		return nil
	})
	d.run()
	d.say(d.comment("the plan"))
	d.settled()
	if diff := cmp.Diff([]string{"quoted", "the plan"}, d.comments()); diff != "" {
		t.Errorf("comments (-want +got):\n%s", diff)
	}
	d.say(d.comment("another plan"))
	d.settled()
	if diff := cmp.Diff([]string{"quoted", "another plan"}, d.comments()); diff != "" {
		t.Errorf("comments (-want +got):\n%s", diff)
	}
}

func TestWritesADeletedCommentAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run()
	remove := func() {
		list, err := d.forge.Comments(t.Context(), onForge, d.pull)
		if err != nil || len(list) != 1 {
			t.Fatalf("comments %+v, %v", list, err)
		}
		d.forge.RemoveComment(onForge, list[0].ID)
	}
	d.say(d.comment("one"))
	d.settled()
	remove()
	d.say(d.comment("two"))
	d.settled()
	d.say(d.comment("three"))
	d.settled()
	if diff := cmp.Diff([]string{"three"}, d.comments()); diff != "" {
		t.Errorf("comments (-want +got):\n%s", diff)
	}
	// Somebody deletes it between our look and our edit.
	var once sync.Once
	d.forge.Before(func(_ context.Context, call fake.Call) error {
		if call.Method == "EditComment" {
			once.Do(remove)
		}
		return nil
	})
	d.say(d.comment("four"))
	d.settled()
	if diff := cmp.Diff([]string{"four"}, d.comments()); diff != "" {
		t.Errorf("comments (-want +got):\n%s", diff)
	}
}

func TestGivesUpWhatWillNeverWork(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	gone := d.status("c", forge.Success)
	gone.Target = strings.Repeat("0", 40)
	d.run()
	d.say(gone)
	d.until("the report is dead", func() bool { return d.row(gone).Dead })
	if got := d.row(gone); got.Fault == nil || got.Sent != 0 {
		t.Errorf("row %+v", got)
	}
	if got := d.metric(status.KindStatus, "dead"); got != 1 {
		t.Errorf("the metric counts %v dead reports", got)
	}
	d.forge.Before(fake.Rejected)
	text := d.comment("one")
	d.say(text)
	d.until("the comment is dead", func() bool { return d.row(text).Dead })
	if got := d.row(text).Fault; got == nil || got.Code != fault.ForgeRejected {
		t.Errorf("fault %+v", got)
	}
	d.forge.Before(nil)
	d.say(d.comment("two"))
	d.settled()
	if got := d.row(text); got.Dead || got.Fault != nil || got.Sent != 2 {
		t.Errorf("what changed is not said: %+v", got)
	}
}

func TestGoesOnSlowlyWhenRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.forge.Before(fake.Refused)
	d.run()
	r := d.status("c", forge.Failure)
	d.say(r)
	d.until("it was tried", func() bool { return d.row(r).Attempts == 1 })
	if got := d.row(r); got.Dead || got.Fault == nil || got.Fault.Code != fault.ForgeRefused {
		t.Errorf("row %+v", got)
	}
	if got := d.metric(status.KindStatus, "failed"); got != 1 {
		t.Errorf("the metric counts %v failures", got)
	}
	var wait float64
	d.until("the next attempt is planned", func() bool {
		err := d.pool.QueryRow(t.Context(), `SELECT extract(epoch FROM run_at - now())::float8 FROM jobs WHERE kind = $1 AND state = 1 AND attempt = 1`,
			status.JobKind).Scan(&wait)
		return err == nil
	})
	if wait < 50 {
		t.Errorf("the next attempt is in %v s", wait)
	}
}

func TestOneFailingReportDoesNotKeepOthersBack(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.forge.Before(func(ctx context.Context, c fake.Call) error {
		if c.Context == "broken" {
			return fake.Limited(10*time.Minute)(ctx, c)
		}
		return nil
	})
	d.run()
	broken := d.status("broken", forge.Failure)
	d.say(broken)
	d.until("the broken one was tried", func() bool { return d.row(broken).Attempts == 1 })
	d.say(d.status("fine", forge.Success), d.comment("fine, too"))
	d.until("the others are sent", func() bool {
		return d.forge.Statuses(onForge, d.commit)["fine"].State == forge.Success && len(d.comments()) == 1
	})
	// A change of the broken one itself does not wait either.
	d.forge.Before(nil)
	d.say(d.status("broken", forge.Success))
	d.settled()
}

func TestSaysHundredsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var all []status.Report
	for i := range 250 {
		all = append(all, d.status(fmt.Sprintf("c%d", i), forge.Success))
	}
	d.say(all...)
	d.run()
	d.settled()
	if got := len(d.forge.Statuses(onForge, d.commit)); got != 250 {
		t.Errorf("%d statuses", got)
	}
}

func TestRedactsAtTheSink(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run()
	r := d.status("c", forge.Failure)
	r.Body = "cannot reach postgres://u:hunter2hunter2@db"
	d.say(r, d.comment("hunter2hunter2"))
	d.settled()
	if got := d.forge.Statuses(onForge, d.commit)["c"].Description; got != "cannot reach postgres://u:(secret)@db" {
		t.Errorf("description %q", got)
	}
	if diff := cmp.Diff([]string{"(secret)"}, d.comments()); diff != "" {
		t.Errorf("comments (-want +got):\n%s", diff)
	}
	// A secret that became known only after it was said does not leave either, nor does one in a forge's own words.
	redact := d.outbox.Redact
	d.outbox.Redact = func(s string) string { return strings.ReplaceAll(redact(s), "correcthorse", "(secret)") }
	if _, err := d.pool.Exec(t.Context(), `UPDATE reports SET body = 'correcthorse' WHERE kind = 'status'`); err != nil {
		t.Fatal(err)
	}
	r.URL += "?again"
	r.Body = "correcthorse"
	d.forge.Before(func(_ context.Context, c fake.Call) error {
		return fault.New(fault.ForgeRejected, "you said %s and hunter2hunter2", c.Body)
	})
	d.say(r)
	d.until("it is dead", func() bool { return d.row(r).Dead })
	if got := d.row(r).Fault.Message; got != "you said (secret) and (secret)" {
		t.Errorf("fault %q", got)
	}
}

func TestClipsDescriptionsToTheForgesLimit(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run()
	r := d.status("c", forge.Failure)
	r.Body = strings.Repeat("é", 1000)
	d.say(r)
	d.settled()
	if got := []rune(d.forge.Statuses(onForge, d.commit)["c"].Description); len(got) != 140 || got[139] != '…' {
		t.Errorf("%d characters", len(got))
	}
}

func TestTellsNobodyWhereTheForgeHasNoAPI(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.outbox.Forge = func(context.Context, string) (forge.Forge, string, error) { return nil, "", nil }
	d.run()
	d.say(d.status("c", forge.Success), d.comment("x"))
	d.settled()
	if got := d.forge.Calls(); len(got) != 0 {
		t.Errorf("calls %+v", got)
	}
}

func TestDoesNotCountAnAttemptThatAShutdownEnded(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	entered := make(chan struct{}, 10)
	d.forge.Before(func(ctx context.Context, c fake.Call) error {
		entered <- struct{}{}
		return fake.Hanging(ctx, c)
	})
	d.queue = queue.New(d.pool, queue.Config{Workers: 1, Poll: 20 * time.Millisecond, Grace: time.Millisecond})
	d.queue.Handle(status.JobKind, d.outbox.Handler())
	stop := d.run()
	r := d.status("c", forge.Success)
	d.say(r)
	<-entered
	stop()
	if got := d.row(r); got.Attempts != 0 || got.Fault != nil {
		t.Errorf("row %+v", got)
	}
	if got := d.metric(status.KindStatus, "failed"); got != 0 {
		t.Errorf("the metric counts %v failures", got)
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
