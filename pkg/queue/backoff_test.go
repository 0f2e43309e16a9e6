package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

func TestBackoffGrowsToItsCapAndIsSpreadOverItsUpperHalf(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, test := range []struct {
		attempt  int
		err      error
		random   float64
		handler  Handler
		expected time.Duration
	}{
		{1, broken, 0, Handler{}, time.Second},
		{1, broken, 1, Handler{}, 2 * time.Second},
		{3, broken, 1, Handler{}, 8 * time.Second},
		{30000, broken, 1, Handler{}, DefaultBackoffCap},
		{2, broken, 0.5, Handler{BackoffBase: time.Minute, BackoffCap: 90 * time.Second}, 67500 * time.Millisecond},
		{1, fault.New(fault.DatabaseUnreachable, "limit").RetryAfter(time.Hour), 1, Handler{}, time.Hour},
		{5, fault.New(fault.DatabaseUnreachable, "limit").RetryAfter(time.Second), 1, Handler{}, 32 * time.Second},
	} {
		if got := test.handler.backoff(test.attempt, test.err, test.random); got != test.expected {
			t.Errorf("after attempt %d with %v: %s, want %s", test.attempt, test.random, got, test.expected)
		}
	}
}

func TestClaimsAsManyAsAreFreeInFewSizes(t *testing.T) {
	t.Parallel()
	for free, want := range map[int]int{1: 1, 3: 1, 4: 4, 15: 4, 16: 16, 100: 64, 1000: 200} {
		if _, size := claimStatement(free); size != want {
			t.Errorf("%d free places: asks for %d, want %d", free, size, want)
		}
	}
}

func TestCutKeepsCharactersWhole(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int]string{0: "", 1: "a", 2: "a", 3: "aé", 9: "aéb"} {
		if got := cut("aéb", limit); got != want {
			t.Errorf("cut at %d: %q, want %q", limit, got, want)
		}
	}
}
