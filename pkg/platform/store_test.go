package platform_test

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func offer(t *testing.T, pool *pgxpool.Pool, s *platform.Store, files platform.Files) (changed bool, faults fault.List) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		newest, err := s.Newest(t.Context(), tx)
		if err != nil {
			return err
		}
		changed, faults, err = s.Offer(t.Context(), tx, platform.Candidate{Source: "folder", Commit: "c1", Files: files, Since: newest})
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return changed, faults
}

func TestAnInvalidVersionChangesNothingAndIsKept(t *testing.T) {
	t.Parallel()
	pool, store := testenv.Pool(t), &platform.Store{}
	if _, err := store.Current(t.Context(), pool); fault.ClassOf(err) != fault.Retryable {
		t.Errorf("without any version: %v", err)
	}
	valid, invalid := platform.Files{"environments/a.yaml": target}, platform.Files{"environments/a.yaml": "x: 1\n"}
	for i, step := range []struct {
		files   platform.Files
		changed bool
		kept    int
	}{
		{invalid, false, 1}, {valid, true, 2}, {valid, false, 2}, {invalid, false, 3}, {invalid, false, 3},
		{valid, false, 4}, // in force all the time, but people must see that the newest is valid again
		{platform.Files{"environments/b.yaml": target}, true, 5}, {valid, true, 6},
	} {
		changed, faults := offer(t, pool, store, step.files)
		list, err := store.Revisions(t.Context(), pool, 10)
		if err != nil {
			t.Fatal(err)
		}
		if changed != step.changed || len(list) != step.kept || list[0].Valid != (faults.Err() == nil) || len(list[0].Faults) != len(faults) {
			t.Errorf("step %d: changed %v, %d versions, newest %+v, faults %v", i, changed, len(list), list[0], faults)
		}
		if i == 0 {
			continue
		}
		current, err := store.Current(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if _, there := current.Environments["a"]; there == (i == 6) {
			t.Errorf("step %d: in force is %v", i, current.Environments)
		}
	}
}

// What another version of the reconciler took may be unreadable to this one; it goes on when the upgrade is done.
func TestAVersionThatThisOneCannotReadIsTriedAgain(t *testing.T) {
	t.Parallel()
	pool, store := testenv.Pool(t), &platform.Store{}
	offer(t, pool, store, platform.Files{"environments/a.yaml": target})
	if _, err := pool.Exec(t.Context(), `UPDATE platform_revisions SET files = '{"environments/a.yaml": "future: 1"}'`); err != nil {
		t.Fatal(err)
	}
	_, err := store.Current(t.Context(), pool)
	if f, ok := fault.As(err); !ok || f.Code != fault.ConfigNewer || fault.ClassOf(err) != fault.Retryable {
		t.Errorf("told %v", err)
	}
}

func TestReplicasThatOfferAtOnceStoreOneVersion(t *testing.T) {
	t.Parallel()
	pool := testenv.Pool(t)
	changes := make(chan bool, 6)
	for range cap(changes) {
		go func() {
			changed, _ := offer(t, pool, &platform.Store{}, platform.Files{"environments/a.yaml": target})
			changes <- changed
		}()
	}
	changed := 0
	for range cap(changes) {
		if <-changes {
			changed++
		}
	}
	list, err := (&platform.Store{}).Revisions(t.Context(), pool, 10)
	if changed != 1 || len(list) != 1 || err != nil {
		t.Errorf("%d changes, %d versions, %v", changed, len(list), err)
	}
}

func TestWhatWasReadBeforeTheNewestWasOfferedIsRefusedUnlessItIsTheSame(t *testing.T) {
	t.Parallel()
	pool, store := testenv.Pool(t), &platform.Store{}
	newer := platform.Files{"environments/b.yaml": target}
	offer(t, pool, store, newer)
	for name, test := range map[string]struct {
		files platform.Files
		want  error
	}{
		"valid":    {platform.Files{"environments/a.yaml": target}, platform.ErrOvertaken},
		"invalid":  {platform.Files{"environments/a.yaml": "x: 1\n"}, platform.ErrOvertaken},
		"the same": {newer, nil},
	} {
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, _, err := store.Offer(t.Context(), tx, platform.Candidate{Source: "folder", Files: test.files})
			return err
		})
		if list, listErr := store.Revisions(t.Context(), pool, 10); !errors.Is(err, test.want) || listErr != nil || len(list) != 1 {
			t.Errorf("%s: %v, %d versions, %v", name, err, len(list), listErr)
		}
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
