package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
)

// No secret value can be found in what is stored, whatever a target says about it.
func TestNoSecretIsStoredInTheOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.app("shop")
	r := w.build("shop", image("shop:1")+database)
	secrets := r.SecretValues()
	if len(secrets) == 0 {
		t.Fatal("the release has no secrets")
	}
	w.target.on(func(_ context.Context, d Delivery) error {
		d.Log("the password is %s", secrets[0])
		return fault.New(fault.TargetForeign, "cannot write %s", secrets[0]).Do("try %s", secrets[0])
	})
	run := w.schedule(a, r)
	w.work()
	if run = w.ended(run); run.State != Failed {
		t.Fatal(run.State)
	}
	logs, err := w.runner.Runs.Logs(t.Context(), w.pool, run.ID, 0)
	if err != nil || len(logs) != 3 {
		t.Errorf("the log is %v, %v", logs, err)
	}
	all := w.dump("runs", "steps", "run_logs", "resources", "shared_states", "inventories", "applications", "releases", "plans", "jobs")
	for _, s := range secrets {
		if strings.Contains(all, s) {
			t.Errorf("%q is in the database", s)
		}
	}
	stored, _, err := w.runner.Runs.Stored(t.Context(), w.pool, "production")
	if err != nil || !strings.Contains(fmt.Sprint(stored), secrets[0]) && stored["postgres.default#shop.db"].State["password"] == nil {
		t.Errorf("the state cannot be opened: %v, %v", stored, err)
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
