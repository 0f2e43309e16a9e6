package server_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/webhooks"
)

func TestTheQueueIsPausedAndResumedThroughTheAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Queue.Handle("report", queue.Handler{})
	status := func() map[string]*queue.Pause {
		var list []queue.KindStatus
		w.must(json.Unmarshal(w.send(http.MethodGet, "/api/v1/queue", auth.Read, "").Body.Bytes(), &list))
		pauses := map[string]*queue.Pause{}
		for _, k := range list {
			pauses[k.Kind] = k.Pause
		}
		return pauses
	}
	w.refused(w.send(http.MethodPost, "/api/v1/queue/pause", auth.Deploy, `{"reason": "no"}`), http.StatusForbidden, fault.Forbidden)
	w.refused(w.send(http.MethodPost, "/api/v1/queue/pause", auth.Admin, `{"reason": "no", "kind": "reprot"}`), http.StatusUnprocessableEntity, fault.QueueKindUnknown)
	pause := func(body string) {
		t.Helper()
		if answer := w.send(http.MethodPost, "/api/v1/queue/pause", auth.Admin, body); answer.Code != http.StatusOK {
			t.Fatalf("%d %s", answer.Code, answer.Body)
		}
	}
	pause(`{"kind": "report", "reason": "the forge is down"}`)
	if p := status(); p["report"] == nil || p["report"].By != string(auth.Admin) || p["report"].Reason != "the forge is down" || p["look"] != nil {
		t.Errorf("%+v", p)
	}
	pause(`{"reason": "the database is moved"}`)
	if p := status(); p["look"] == nil || p["look"].Kind != "" || p["report"].Kind != "" {
		t.Errorf("%+v", p)
	}
	if answer := w.send(http.MethodPost, "/api/v1/queue/resume", auth.Admin, "{}"); answer.Code != http.StatusOK {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	if p := status(); p["look"] != nil || p["report"] == nil {
		t.Errorf("%+v", p)
	}
	w.refused(w.send(http.MethodPost, "/api/v1/queue/resume", auth.Admin, "{}"), http.StatusConflict, fault.QueueNotPaused)
}

func TestReadinessTellsTheBacklogAndFailsOnlyWithoutDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Checks = map[string]func(context.Context) error{"postgres": w.Pool.Ping}
	w.must(pgx.BeginFunc(t.Context(), w.Pool, func(tx pgx.Tx) error {
		var inserts []queue.Insert
		for key := range strings.SplitSeq("abcdefgh", "") {
			inserts = append(inserts, queue.Insert{Kind: "report", Key: key})
		}
		_, err := w.Queue.Enqueue(t.Context(), tx, inserts...)
		return err
	}))
	_, err := w.Pool.Exec(t.Context(), "UPDATE jobs SET run_at = now() - interval '1 day'")
	w.must(errors.Join(err, w.Queue.Pause(t.Context(), "", "ann", "a reason that is not everybody's")))
	answer := w.send(http.MethodGet, "/readyz", "", "")
	if answer.Code != http.StatusOK || strings.Contains(answer.Body.String(), "ann") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	w.holds(answer.Body.String(), `"kind":"report","waiting":8,"running":0,"oldestSeconds":864`, `"paused":true`)
	// Whoever asks without a token has the jobs counted once in a while only.
	if _, err := w.Pool.Exec(t.Context(), "DELETE FROM jobs"); err != nil {
		t.Fatal(err)
	}
	w.holds(w.send(http.MethodGet, "/readyz", "", "").Body.String(), `"waiting":8`)
	w.Pool.Close()
	if answer := w.send(http.MethodGet, "/readyz", "", ""); answer.Code != http.StatusServiceUnavailable {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

// Counting what waits may be slow where the database is busy, and who asks whether we are ready does not wait for long.
func TestReadinessIsToldAlsoWhileTheBacklogCannotBeCounted(t *testing.T) {
	t.Parallel()
	const asking, patience = 5, 5 * time.Second
	w := newWorld(t)
	tx, err := w.Pool.Begin(t.Context())
	w.must(err)
	defer tx.Rollback(context.WithoutCancel(t.Context()))
	if _, err := tx.Exec(t.Context(), "LOCK TABLE jobs"); err != nil {
		t.Fatal(err)
	}
	ask := func() {
		if answer := w.send(http.MethodGet, "/readyz", "", ""); answer.Code != http.StatusOK {
			t.Errorf("%d %s", answer.Code, answer.Body)
		}
	}
	began := time.Now()
	var all sync.WaitGroup
	for range asking {
		all.Go(ask)
	}
	all.Wait()
	for range asking {
		ask()
	}
	if took := time.Since(began); took > patience {
		t.Errorf("%d answers took %s", 2*asking, took)
	}
}

// Nobody does the work, and a forge sends on: none of it is refused, and what waits does not grow.
func TestNoWebhookIsRefusedBecauseOfABacklogAndAllBecomeOneLook(t *testing.T) {
	t.Parallel()
	const deliveries, senders = 10_000, 4
	w := newWorld(t)
	w.Webhooks.(*webhooks.Receiver).Hint = func(ctx context.Context, tx pgx.Tx, _, repository string) error {
		return w.Watcher.Hint(ctx, tx, repository)
	}
	w.must(w.Queue.Pause(t.Context(), "", "ann", "the database is moved"))
	body := `{"repository": {"full_name": "` + configured + `"}}`
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write([]byte(body))
	signature := hex.EncodeToString(mac.Sum(nil))
	var next atomic.Int64
	var all sync.WaitGroup
	for range senders {
		all.Go(func() {
			for n := next.Add(1); n <= deliveries; n = next.Add(1) {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks/gitea", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("X-Gitea-Event", "push")
				r.Header.Set("X-Gitea-Delivery", fmt.Sprint("backlog-", n))
				r.Header.Set("X-Gitea-Signature", signature)
				if answer := w.do(r); answer.Code != http.StatusOK {
					t.Errorf("delivery %d: %d %s", n, answer.Code, answer.Body)
					return
				}
			}
		})
	}
	all.Wait()
	stats, err := w.Queue.Stats(t.Context())
	if err != nil || len(stats) != 1 || stats[0].Kind != gitwatch.JobKind || stats[0].Count != 1 {
		t.Errorf("after %d deliveries %+v wait, %v", deliveries, stats, err)
	}
}
