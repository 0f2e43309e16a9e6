package apply

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/secret"
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

func TestASecretOfAPathIsSentAndNowhereSeen(t *testing.T) {
	t.Parallel()
	const given, got = "the-key-of-the-office", "what-the-office-gives"
	w, asked := newWorld(t), make(chan string, 9)
	office := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Authorization")
		if r.URL.Path == "/broken" {
			rw.WriteHeader(http.StatusForbidden)
		}
		_, _ = rw.Write([]byte(`{"token": "` + got + `"}`))
	}))
	t.Cleanup(office.Close)
	w.runner.Redactor.Add(given)
	path := fmt.Sprintf(`
main
steps:
  - id: login
    http: {method: POST, url: "%[1]s/login", headers: {Authorization: "Bearer ${secrets.office}"}}
    outputs: {token: {type: string, value: response.body.token, secret: true}}
  - {id: ask, needs: [login], approval: {text: "With ${steps.login.token}?"}}
  - {id: broken, needs: [ask], http: {url: "%[1]s/broken", headers: {Authorization: "${steps.login.token}"}, keep: true}}
  - {id: release, needs: [broken], uses: release}
`, office.URL)
	w.work()
	run := w.ended(w.along(w.app("cart"), w.build("cart", image("cart:1")), path))
	if run.State != Failed || run.Fault.Code != fault.SecretMissing {
		t.Fatalf("without the secret the run is %s: %v", run.State, run.Fault)
	}
	w.runner.Secrets = map[string]string{"office": given}
	run = w.along(w.app("shop"), w.build("shop", image("shop:1")), path)
	w.until("it to ask", func() bool { return strings.HasSuffix(w.run(run.ID).Waits, " With "+secret.Mask+"?") })
	if err := w.runner.Decide(t.Context(), run.ID, Approval{Who: "ann", Approved: true}); err != nil {
		t.Fatal(err)
	}
	if run = w.ended(run); run.State != Failed {
		t.Fatalf("the run is %+v", run)
	}
	if one, two := <-asked, <-asked; one != "Bearer "+given || two != got {
		t.Errorf("sent %q and %q", one, two)
	}
	all := w.dump("runs", "steps", "run_logs", "artefacts", "jobs", "plans")
	for _, s := range []string{given, got} {
		// What artefacts hold is shown in hexadecimal digits.
		if strings.Contains(all, s) || strings.Contains(all, hex.EncodeToString([]byte(s))) {
			t.Errorf("%q is in the database:\n%s", s, all)
		}
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
