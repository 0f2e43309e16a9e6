package server_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/server"
)

func TestARefusedPlatformConfigurationIsToldAndTheServerStaysReady(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	offer := func(text string) server.PlatformState {
		w.must(pgx.BeginFunc(t.Context(), w.Pool, func(tx pgx.Tx) error {
			newest, err := w.Platform.Newest(t.Context(), tx)
			if err != nil {
				return err
			}
			_, _, err = w.Platform.Offer(t.Context(), tx, platform.Candidate{Source: "test", Files: platform.Files{"environments/production.yaml": text}, Since: newest})
			return err
		}))
		var now server.Status
		w.must(json.Unmarshal(w.send(http.MethodGet, "/api/v1/status", auth.Read, "").Body.Bytes(), &now))
		return now.Platform
	}
	const valid = "target: {directory: {path: out}}\n"
	before := offer(valid)
	if before.InForce == nil || before.Refused != nil {
		t.Fatalf("%+v", before)
	}
	for _, text := range []string{"targit: {}\n", "targat: {}\n"} {
		now := offer(text)
		if now.InForce == nil || now.InForce.ID != before.InForce.ID || now.Refused == nil {
			t.Fatalf("%+v", now)
		}
		if f := now.Refused.Faults[0]; f.Code != fault.ConfigUnknownKey || f.Place.Line != 1 {
			t.Errorf("%+v", f)
		}
	}
	if answer := w.send(http.MethodGet, "/readyz", "", ""); answer.Code != http.StatusOK {
		t.Errorf("%d: %s", answer.Code, answer.Body)
	}
	if now := offer(valid); now.Refused != nil || now.InForce == nil {
		t.Errorf("%+v", now)
	}
}
