package planner_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
)

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}

// stored is a store with one application.
type stored struct {
	*planner.Store
	t    *testing.T
	pool *pgxpool.Pool
	app  planner.Application
}

func newStore(t *testing.T) *stored {
	t.Helper()
	s := &stored{Store: &planner.Store{Keys: keyring(t)}, t: t, pool: testenv.Pool(t)}
	s.do(func(tx pgx.Tx) (err error) {
		s.app, err = s.Create(t.Context(), tx, "production", "shop", "app/score.yaml", "shop")
		return err
	})
	return s
}

// do runs an act in a transaction of its own and looks at the application again.
func (s *stored) do(act func(pgx.Tx) error) {
	s.t.Helper()
	if err := pgx.BeginFunc(s.t.Context(), s.pool, act); err != nil {
		s.t.Fatal(err)
	}
	if s.app.ID != 0 {
		var err error
		if s.app, err = s.Application(s.t.Context(), s.pool, s.app.ID); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stored) next(r *planner.Release) (generation int64) {
	s.t.Helper()
	s.do(func(tx pgx.Tx) (err error) {
		generation, err = s.NextRelease(s.t.Context(), tx, planner.Record{
			Application: s.app.ID, Plan: "p", Commit: "c", Cause: "commit",
		}, r)
		return err
	})
	return generation
}

func TestReleasesAreNumberedAndReadBackWhole(t *testing.T) {
	t.Parallel()
	s, w := newStore(t), newWorld(t, nil)
	one, two := w.must(richFile), w.must(strings.Replace(richFile, "app:1", "app:2", 1))
	for i, r := range []*planner.Release{one, two, nil, one} {
		if got := s.next(r); got != int64(i+1) {
			t.Errorf("generation %d, want %d", got, i+1)
		}
	}
	got, err := s.Release(t.Context(), s.pool, s.app.ID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]any{one.Digest, text(t, one), one.Hidden.Values}, []any{got.Digest, text(t, got), got.Hidden.Values}); diff != "" {
		t.Error(diff)
	}
	if removal, err := s.Release(t.Context(), s.pool, s.app.ID, 3); removal != nil || err != nil {
		t.Errorf("a removal is %v, %v", removal, err)
	}
	if _, err := s.Release(t.Context(), s.pool, s.app.ID, 9); !isCode(err, fault.ReleaseUnknown) {
		t.Error(err)
	}
	list, err := s.Records(t.Context(), s.pool, s.app.ID, 2)
	if err != nil || len(list) != 2 || list[0].Generation != 4 {
		t.Errorf("records: %+v, %v", list, err)
	}
	for below, want := range map[int64]int64{2: 1, 3: 2, 4: 0, 5: 4} {
		if good, err := s.LastGood(t.Context(), s.pool, s.app.ID, []int64{1, 2, 4}, below); err != nil || good != want {
			t.Errorf("last good below %d is %d, %v, want %d: not across a removal", below, good, err, want)
		}
	}
	for generation, want := range map[int64]string{0: "", 2: two.Digest, 3: ""} {
		if got, err := s.Digest(t.Context(), s.pool, s.app.ID, generation); got != want || err != nil {
			t.Errorf("digest of %d: %s, %v", generation, got, err)
		}
	}
}

func isCode(err error, code fault.Code) bool {
	f, ok := fault.As(err)
	return ok && f.Code == code
}

func TestNoRowHoldsASecretInClearText(t *testing.T) {
	t.Parallel()
	s, w := newStore(t), newWorld(t, platform.Files{"own.provisioners.yaml": `
- uri: template://own/relay
  type: relay
  state: "key: state-only-value"
  outputs: "url: https://user:relay-password-1@relay.example"
  manifests: |
    - {apiVersion: v1, kind: Secret, metadata: {name: relay}, stringData: {password: relay-password-1}}
`})
	release := w.must(strings.Replace(richFile, "resources:\n", "resources:\n  relay: {type: relay}\n", 1))
	release2 := w.must(workload("shop", "    variables: {U: \"${resources.relay.url}\"}\n    files: {/f: {content: \"u=${resources.relay.url}\"}}\nresources: {relay: {type: relay}}\n"))
	s.next(release)
	s.next(release2)
	plan := planner.NewPlan("shop", "production", "p", planner.Base{Generation: 1, Release: release}, release2)
	if err := s.StorePlan(t.Context(), s.pool, plan, "shop", "c", 7); err != nil {
		t.Fatal(err)
	}
	var dump string
	const everything = `SELECT (SELECT json_agg(r) FROM releases r)::text || (SELECT json_agg(p) FROM plans p)::text || (SELECT json_agg(a) FROM applications a)::text`
	if err := s.pool.QueryRow(t.Context(), everything).Scan(&dump); err != nil {
		t.Fatal(err)
	}
	secrets := append(release.SecretValues(), release2.SecretValues()...)
	if len(secrets) < 6 {
		t.Fatalf("only %d secret values", len(secrets))
	}
	for _, value := range append(secrets, "relay-password-1", "state-only-value") {
		if strings.Contains(dump, value) {
			t.Errorf("%s stands in a row", value)
		}
	}
	other := &planner.Store{Keys: otherKeys(t)}
	if _, err := other.Release(t.Context(), s.pool, s.app.ID, 1); err == nil {
		t.Error("a release opens with another key")
	}
	if _, err := s.pool.Exec(t.Context(), "UPDATE releases SET hidden = (SELECT hidden FROM releases WHERE generation = 2) WHERE generation = 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Release(t.Context(), s.pool, s.app.ID, 1); err == nil {
		t.Error("a hidden part opens in another release")
	}
}

func TestHoldsWaitingAndRemovalAreKept(t *testing.T) {
	t.Parallel()
	s, ctx := newStore(t), t.Context()
	s.do(func(tx pgx.Tx) error {
		return s.SetHold(ctx, tx, s.app.ID, planner.Hold{Reason: "why", By: "ann", Digest: "d"})
	})
	if h := s.app.Hold; h == nil || h.Reason != "why" || h.By != "ann" || !h.Holds("d") || h.Holds("other") || h.Since.IsZero() {
		t.Errorf("hold: %+v", s.app.Hold)
	}
	if (*planner.Hold)(nil).Holds("d") || !(&planner.Hold{}).Holds("d") {
		t.Error("no hold holds nothing, a person's holds all")
	}
	s.do(func(tx pgx.Tx) error { return s.LiftHold(ctx, tx, s.app.ID) })
	if s.app.Hold != nil {
		t.Errorf("hold: %+v", s.app.Hold)
	}
	why := fault.New(fault.DeletesStateful, "data")
	s.do(func(tx pgx.Tx) error { return s.Wait(ctx, tx, s.app.ID, "plan", why) })
	if s.app.Waiting != "plan" || s.app.WaitingFor == nil || s.app.WaitingFor.Code != fault.DeletesStateful {
		t.Errorf("waiting: %+v", s.app)
	}
	s.do(func(tx pgx.Tx) error { return s.Wait(ctx, tx, s.app.ID, "", nil) })
	if s.app.Waiting != "" || s.app.WaitingFor != nil {
		t.Errorf("waiting: %+v", s.app)
	}
	s.do(func(tx pgx.Tx) error {
		a := s.app
		a.Inputs, a.Commit, a.Name, a.Faults = "in", "abc", "store", fault.List{why}
		return s.Evaluated(ctx, tx, a)
	})
	if s.app.Name != "store" || s.app.Inputs != "in" || len(s.app.Faults) != 1 {
		t.Errorf("evaluated: %+v", s.app)
	}
}

func TestAnApplicationComesBackWithItsGenerations(t *testing.T) {
	t.Parallel()
	s, ctx := newStore(t), t.Context()
	s.next(newWorld(t, nil).must(workload("shop", "")))
	s.do(func(tx pgx.Tx) error { return s.Applied(ctx, tx, s.app.ID, 1) })
	s.next(nil)
	s.do(func(tx pgx.Tx) error { return s.Removed(ctx, tx, s.app.ID, 1) })
	if s.app.RemovedAt != nil {
		t.Error("an older removal removes what is newer")
	}
	s.do(func(tx pgx.Tx) error { return s.Removed(ctx, tx, s.app.ID, 2) })
	if _, err := s.Named(ctx, s.pool, "production", "shop"); !isCode(err, fault.AppUnknown) {
		t.Errorf("a removed application is found: %v", err)
	}
	if base, err := s.Base(ctx, s.pool, s.app); base.Release != nil || base.Generation != 0 || err != nil {
		t.Errorf("base of a removed application: %+v, %v", base, err)
	}
	id := s.app.ID
	s.do(func(tx pgx.Tx) (err error) {
		s.app, err = s.Create(ctx, tx, "production", "shop", "app/score.yaml", "shop")
		return err
	})
	if s.app.ID != id || s.app.Generation != 2 || s.app.RemovedAt != nil {
		t.Errorf("revived: %+v", s.app)
	}
	if got := s.next(newWorld(t, nil).must(workload("shop", ""))); got != 3 {
		t.Errorf("generation %d after it came back", got)
	}
	s.do(func(tx pgx.Tx) error { return s.Applied(ctx, tx, s.app.ID, 3) })
	s.do(func(tx pgx.Tx) error { return s.Applied(ctx, tx, s.app.ID, 1) })
	if s.app.Applied != 3 {
		t.Errorf("applied went back to %d", s.app.Applied)
	}
	services, err := s.Services(ctx, s.pool, "production")
	if _, there := services["shop"]; !there || err != nil {
		t.Errorf("services: %v, %v", services, err)
	}
}

func TestANameBelongsToOneApplication(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := s.Create(t.Context(), tx, "production", "other", "score.yaml", "shop")
		return err
	})
	if err == nil {
		t.Error("another application takes the name")
	}
}

func TestPlansAreConfirmedOnce(t *testing.T) {
	t.Parallel()
	s, ctx := newStore(t), t.Context()
	plan := planner.NewPlan("shop", "production", "p", planner.Base{}, newWorld(t, nil).must(richFile))
	for _, pull := range []int64{7, 0} {
		if err := s.StorePlan(ctx, s.pool, plan, "shop", fmt.Sprint("commit", pull), pull); err != nil {
			t.Fatal(err)
		}
	}
	s.do(func(tx pgx.Tx) error { return s.Confirm(ctx, tx, plan.ID, "ann") })
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error { return s.Confirm(ctx, tx, plan.ID, "bob") })
	if !isCode(err, fault.PlanNotWaiting) {
		t.Errorf("confirmed twice: %v", err)
	}
	got, err := s.Plan(ctx, s.pool, plan.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plan, got.Plan); diff != "" {
		t.Error(diff)
	}
	if *got.ConfirmedBy != "ann" || got.Pull == nil || *got.Pull != 7 || got.Commit != "commit0" {
		t.Errorf("record: %+v", got)
	}
	if _, err := s.Plan(ctx, s.pool, "none"); !isCode(err, fault.PlanUnknown) {
		t.Error(err)
	}
	list, err := s.Plans(ctx, s.pool, planner.Filter{Name: "shop"}, 5)
	if err != nil || len(list) != 1 || list[0].Plan != nil {
		t.Errorf("plans: %v, %v", list, err)
	}
}

func TestLockedApplicationsWaitForEachOther(t *testing.T) {
	t.Parallel()
	s, ctx := newStore(t), t.Context()
	done := make(chan error, 4)
	for range cap(done) {
		go func() {
			done <- pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
				a, err := s.Lock(ctx, tx, s.app.ID)
				if err != nil {
					return err
				}
				generation, err := s.NextRelease(ctx, tx, planner.Record{Application: a.ID, Cause: "commit"}, nil)
				if err == nil && generation != a.Generation+1 {
					err = errors.New("somebody else made a release under the lock")
				}
				return err
			})
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
