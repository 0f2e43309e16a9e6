package queue_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/queue"
)

func TestListsLiveAndFinishedJobsPageByPage(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	q.Handle("ran", work(done))
	var want []int64
	for n := range 6 {
		kind := []string{"ran", "waits"}[n%2]
		id := enqueue(t, pool, q, queue.Insert{Kind: kind, Key: fmt.Sprint("key", n/2)})[0].ID
		want = append([]int64{id}, want...)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO schedules VALUES ('maintenance', now() + interval '1 min')"); err != nil {
		t.Fatal(err) // The queue's own jobs would stand in the lists.
	}
	stop := run(t, q)
	until(t, "one of each key has run", func() bool { return live(t, q) == 3 })
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	list := func(f queue.Filter) (ids []int64) {
		t.Helper()
		entries, err := q.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			ids = append(ids, e.ID)
		}
		return ids
	}
	for name, test := range map[string]struct {
		filter queue.Filter
		want   []int64
	}{
		"all":          {queue.Filter{}, want},
		"first page":   {queue.Filter{Limit: 4}, want[:4]},
		"second page":  {queue.Filter{Limit: 4, Before: want[3]}, want[4:]},
		"kind":         {queue.Filter{Kind: "ran"}, []int64{want[1], want[3], want[5]}},
		"live":         {queue.Filter{States: []queue.State{queue.Ready, queue.Blocked}}, []int64{want[0], want[2], want[4]}},
		"finished":     {queue.Filter{States: []queue.State{queue.Done}}, []int64{want[1], want[3], want[5]}},
		"key":          {queue.Filter{Key: "key1"}, want[2:4]},
		"key and kind": {queue.Filter{Key: "key1", Kind: "ran"}, want[3:4]},
		"nothing":      {queue.Filter{Key: "other"}, nil},
	} {
		if diff := cmp.Diff(test.want, list(test.filter)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestAnEntryReadsWellAsJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(queue.Entry{ID: 1, Kind: "k", Key: "a", State: queue.Superseded, Failures: []queue.Failure{}, Args: json.RawMessage("{}")})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":1,"kind":"k","key":"a","state":"superseded","attempt":0,"maxAttempts":0,"priority":0,` +
		`"createdAt":"0001-01-01T00:00:00Z","runAt":"0001-01-01T00:00:00Z","failures":[],"args":{}}`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	var back queue.Entry
	if err := json.Unmarshal(text, &back); err != nil || back.State != queue.Superseded {
		t.Errorf("read back as %+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"state": "asleep"}`), &back); err == nil {
		t.Error("a state that is none is taken")
	}
	for s := queue.Blocked; s <= queue.Cancelled; s++ {
		if got, ok := queue.ParseState(s.String()); !ok || got != s {
			t.Errorf("%s is read as %s, %v", s, got, ok)
		}
	}
}

func TestStatsTellDepthAndAge(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	q := queue.New(pool, quick())
	ago := time.Now().Add(-time.Minute)
	enqueue(t, pool, q,
		queue.Insert{Kind: "a", Key: "1", RunAt: ago}, queue.Insert{Kind: "a", Key: "1"},
		queue.Insert{Kind: "a", Key: "2"}, queue.Insert{Kind: "b", Key: "3", RunAt: time.Now().Add(time.Hour)})
	got, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []queue.Stat{
		{Kind: "a", State: queue.Blocked, Count: 1}, {Kind: "a", State: queue.Ready, Count: 2, Oldest: time.Minute},
		{Kind: "b", State: queue.Ready, Count: 1},
	}
	near := cmp.Comparer(func(a, b time.Duration) bool { return (a - b).Abs() < 20*time.Second })
	if diff := cmp.Diff(want, got, near, cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}

func TestDeletesOldHistoryAndStartsStrandedJobs(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	cfg := quick()
	cfg.Retention, cfg.Sweep, cfg.Maintain = time.Hour, 50*time.Millisecond, 200*time.Millisecond
	q := queue.New(pool, cfg)
	q.Handle("k", work(done))
	stranded := enqueue(t, pool, q, queue.Insert{Kind: "k", Key: "stranded"})[0].ID
	for _, sql := range []string{
		"UPDATE jobs SET state = 0",
		`INSERT INTO job_history (id, finished_at, created_at, run_at, generation, state, priority, attempt, max_attempts, kind, key, failures, args)
		 SELECT n, now() - interval '2 hours', now(), now(), 0, 3, 2, 1, 8, 'old', 'old', '[]', '{}' FROM generate_series(1000000, 1002500) n`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	run(t, q)
	wantState(t, q, stranded, queue.Done)
	until(t, "the old history is gone", func() bool {
		old, err := q.List(t.Context(), queue.Filter{Kind: "old"})
		return err == nil && len(old) == 0
	})
}
