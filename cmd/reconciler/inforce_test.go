package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/server"
)

func TestARefusedPlatformConfigurationIsTold(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	wrong := fault.New(fault.ConfigUnknownKey, "unknown key targit").At(fault.Place{File: "environments/production.yaml", Line: 1, Column: 1})
	state := server.PlatformState{
		InForce: &platform.Revision{Source: "platform", Digest: "0123456789abcdef", Valid: true, CreatedAt: at},
		Refused: &platform.Revision{Source: "platform", Digest: "fedcba9876543210", Faults: fault.List{wrong}, CreatedAt: at.Add(time.Hour)},
	}
	url := answer(t, map[string]func(*http.Request) any{"/status": func(*http.Request) any { return server.Status{Platform: state} }})
	got, err := output(t.Context(), t, url, "platform")
	want := `STATE     SOURCE    COMMIT  DIGEST        SINCE
in force  platform  -       0123456789ab  2026-01-02 03:04:05
refused   platform  -       fedcba987654  2026-01-02 04:04:05

` + wrong.Text()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}

	// The doctor fails only for it: a server that goes on with the version before is ready.
	for _, c := range []struct {
		token string
		state server.PlatformState
		want  string
		code  fault.Code
	}{
		{"t", state, "FAIL  platform configuration of the server: the newest version is refused\n", fault.ConfigUnknownKey},
		{"t", server.PlatformState{InForce: state.InForce}, "ok    platform configuration of the server: in force since 2026-01-02 03:04:05\n", ""},
		{"t", server.PlatformState{}, "FAIL  platform configuration of the server\n", fault.PlatformMissing},
		{"", state, "ok    platform configuration of the server: not asked for without a token\n", ""},
	} {
		t.Setenv("RECONCILER_TOKEN", c.token)
		state = c.state
		got, err := output(t.Context(), t, url, "doctor", "--config", "testdata/doctor.yaml")
		f, _ := fault.As(err)
		if !strings.HasSuffix(got, c.want) || f == nil && c.code != "" || f != nil && f.Code != c.code {
			t.Errorf("%v: %s", err, got)
		}
	}
}
