package apply

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

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
	w := newWorld(t)
	statements := map[string]string{
		"sqlInsertRun": sqlInsertRun, "sqlRun": sqlRun, "sqlRuns": sqlRuns, "sqlRunOf": sqlRunOf, "sqlBegin": sqlBegin, "sqlFence": sqlFence,
		"sqlEnd": sqlEnd, "sqlWrote": sqlWrote, "sqlNoteFault": sqlNoteFault, "sqlFormer": sqlFormer, "sqlSucceeded": sqlSucceeded,
		"sqlSteps": sqlSteps, "sqlInsertStep": sqlInsertStep, "sqlStartStep": sqlStartStep, "sqlEndStep": sqlEndStep, "sqlLog": sqlLog, "sqlLogs": sqlLogs,
		"sqlItems": sqlItems, "sqlKeepItem": sqlKeepItem, "sqlClaimItem": sqlClaimItem, "sqlDropItems": sqlDropItems, "sqlLockShared": sqlLockShared,
		"sqlResources": sqlResources, "sqlOwn": sqlOwn, "sqlOthers": sqlOthers, "sqlSharers": sqlSharers, "sqlTaken": sqlTaken, "sqlUpsertResource": sqlUpsertResource, "sqlRetire": sqlRetire, "sqlShared": sqlShared,
		"sqlLockState": sqlLockState, "sqlStoreShared": sqlStoreShared,
	}
	for _, name := range constants(t) {
		if statements[name] == "" {
			t.Errorf("%s is not tested", name)
		}
	}
	for name, text := range statements {
		if _, err := w.pool.Exec(t.Context(), "PREPARE "+name+" AS "+text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// constants returns the names of the package's SQL constants.
func constants(t *testing.T) (names []string) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "sql") {
				names = append(names, v.Names[0].Name)
			}
			return true
		})
	}
	return names
}
