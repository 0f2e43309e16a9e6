package queue

import (
	"errors"
	"testing"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

func TestBackoffDoublesUpToItsCapGiveOrTakeAHalf(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	limit := func(after time.Duration) error {
		return fault.New(fault.DatabaseUnreachable, "limit").RetryAfter(after)
	}
	for _, test := range []struct {
		attempt     int
		err         error
		handler     Handler
		least, most time.Duration
	}{
		{1, broken, Handler{}, time.Second, 3 * time.Second},
		{3, broken, Handler{}, 4 * time.Second, 12 * time.Second},
		{100, broken, Handler{}, DefaultBackoffCap / 2, DefaultBackoffCap * 3 / 2},
		{2, broken, Handler{BackoffBase: time.Minute, BackoffCap: 90 * time.Second}, 45 * time.Second, 135 * time.Second},
		{1, limit(time.Hour), Handler{}, time.Hour, time.Hour},
		{5, limit(time.Second), Handler{}, 16 * time.Second, 48 * time.Second},
	} {
		seen := map[time.Duration]bool{}
		for range 100 {
			got := test.handler.backoff(test.attempt, test.err)
			if got < test.least || got > test.most+1 {
				t.Errorf("after attempt %d: %s is not between %s and %s", test.attempt, got, test.least, test.most)
			}
			seen[got] = true
		}
		if len(seen) < 50 && test.least < test.most {
			t.Errorf("after attempt %d: %d different waits of 100", test.attempt, len(seen))
		}
	}
}

func TestClaimsAsManyAsAreFreeInFewSizes(t *testing.T) {
	t.Parallel()
	for free, want := range map[int]int{1: 1, 3: 2, 4: 4, 15: 8, 16: 16, 100: 64, 1000: 200} {
		if _, size := claimStatement(sqlClaim, free); size != want {
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
