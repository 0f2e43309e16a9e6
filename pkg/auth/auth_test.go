package auth_test

import (
	"encoding/hex"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func create(t *testing.T, db *pgxpool.Pool, name string, lifetime time.Duration, scopes ...auth.Scope) (value string, p auth.Principal) {
	t.Helper()
	value, err := auth.CreateToken(t.Context(), db, name, scopes, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	p, err = auth.Bearer(t.Context(), db, value)
	if err != nil {
		t.Fatal(err)
	}
	return value, p
}

func denied(t *testing.T, what string, err error) {
	t.Helper()
	if f, ok := fault.As(err); !ok || f.Code != fault.Unauthenticated {
		t.Errorf("%s: got %v, want %s", what, err, fault.Unauthenticated)
	}
}

// later moves everything that was stored into the past, as if time had gone by.
func later(t *testing.T, db *pgxpool.Pool, by time.Duration) {
	t.Helper()
	for _, statement := range []string{
		`UPDATE tokens SET expires_at = expires_at - make_interval(secs => $1), used_at = used_at - make_interval(secs => $1)`,
		`UPDATE sessions SET expires_at = expires_at - make_interval(secs => $1)`,
	} {
		if _, err := db.Exec(t.Context(), statement, by.Seconds()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestScopesIncludeThoseBeforeThem(t *testing.T) {
	t.Parallel()
	for have, may := range map[auth.Scope][]auth.Scope{
		auth.Read: {auth.Read}, auth.Deploy: {auth.Read, auth.Deploy}, auth.Admin: {auth.Read, auth.Deploy, auth.Admin}, "other": nil,
	} {
		var got []auth.Scope
		for _, s := range append(auth.Scopes(), "unknown", "") {
			if (auth.Principal{Scopes: []auth.Scope{have}}).May(s) {
				got = append(got, s)
			}
		}
		if diff := cmp.Diff(may, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", have, diff)
		}
	}
	if (auth.Principal{}).May(auth.Read) {
		t.Error("nobody may read")
	}
}

func TestTokenLetsInWithItsScopes(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	value, p := create(t, db, "ci", 0, auth.Read, auth.Deploy)
	if p.Name != "ci" || !p.May(auth.Deploy) || p.May(auth.Admin) {
		t.Errorf("principal %+v", p)
	}
	for what, wrong := range map[string]string{
		"nothing": "", "another": "rec_" + strings.Repeat("A", 43), "cut": value[:20], "longer": value + "A", "other case": strings.ToUpper(value),
		"without prefix": strings.TrimPrefix(value, "rec_"),
	} {
		_, err := auth.Bearer(t.Context(), db, wrong)
		denied(t, what, err)
	}
}

func TestTokenNeedsANameAndKnownScopes(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	for what, try := range map[string]func() (string, error){
		"no name":  func() (string, error) { return auth.CreateToken(t.Context(), db, "", []auth.Scope{auth.Read}, 0) },
		"no scope": func() (string, error) { return auth.CreateToken(t.Context(), db, "a", nil, 0) },
		"past lifetime": func() (string, error) {
			return auth.CreateToken(t.Context(), db, "a", []auth.Scope{auth.Read}, -time.Hour)
		},
		"unknown scope": func() (string, error) { return auth.CreateToken(t.Context(), db, "a", []auth.Scope{"root"}, 0) },
	} {
		if _, err := try(); fault.Of(err)[0].Code != fault.TokenInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	create(t, db, "taken", 0, auth.Read)
	if _, err := auth.CreateToken(t.Context(), db, "taken", []auth.Scope{auth.Admin}, 0); fault.Of(err)[0].Code != fault.TokenInvalid {
		t.Errorf("taken name: %v", err)
	}
}

func TestOnlyHashesAreStored(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	token, p := create(t, db, "ci", 0, auth.Read)
	session, err := auth.Login(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	link, err := auth.Link(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := db.Query(t.Context(), `SELECT tokens::text FROM tokens UNION ALL SELECT sessions::text FROM sessions`)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(stored) != 3 {
		t.Fatalf("%d rows, %v", len(stored), err)
	}
	all := strings.Join(stored, "\n")
	for _, value := range []string{token, session, link} {
		if strings.Contains(all, value) || strings.Contains(all, hex.EncodeToString([]byte(value))) {
			t.Errorf("a value is stored: %s", all)
		}
		if len(value) < 40 {
			t.Errorf("a value of %d characters can be guessed", len(value))
		}
	}
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	value, p := create(t, db, "short", time.Hour, auth.Read)
	session, err := auth.Login(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	later(t, db, 59*time.Minute)
	if _, err := auth.Bearer(t.Context(), db, value); err != nil {
		t.Errorf("too early: %v", err)
	}
	later(t, db, time.Minute)
	_, err = auth.Bearer(t.Context(), db, value)
	denied(t, "token", err)
	_, err = auth.Session(t.Context(), db, session)
	denied(t, "its session", err)
}

func TestRevocationEndsATokenAndItsSessionsForGood(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	value, p := create(t, db, "ci", 0, auth.Admin)
	session, err := auth.Login(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	link, err := auth.Link(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	if err := auth.RevokeToken(t.Context(), db, "ci"); err != nil {
		t.Fatal(err)
	}
	gone := func(when string) {
		_, err := auth.Bearer(t.Context(), db, value)
		denied(t, "the token "+when, err)
		_, err = auth.Session(t.Context(), db, session)
		denied(t, "its session "+when, err)
		_, err = auth.Follow(t.Context(), db, link)
		denied(t, "its link "+when, err)
	}
	gone("after the revocation")
	if err := auth.RevokeToken(t.Context(), db, "ci"); fault.Of(err)[0].Code != fault.TokenInvalid {
		t.Errorf("revoked twice: %v", err)
	}
	create(t, db, "ci", 0, auth.Read)
	gone("after the name was used again")
}

func TestNameOfAnExpiredTokenCanBeUsedAgainWithoutItsSessions(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	_, p := create(t, db, "ci", time.Hour, auth.Admin)
	session, err := auth.Login(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	later(t, db, 2*time.Hour)
	create(t, db, "ci", 0, auth.Read)
	_, err = auth.Session(t.Context(), db, session)
	denied(t, "the old session", err)
}

func TestSessionLastsUntilItsEndOrLogout(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	_, p := create(t, db, "jane", 0, auth.Deploy)
	var sessions []string
	for range 2 {
		s, err := auth.Login(t.Context(), db, p.TokenID)
		if err != nil {
			t.Fatal(err)
		}
		sessions = append(sessions, s)
	}
	got, err := auth.Session(t.Context(), db, sessions[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p, got); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	if _, err := auth.Bearer(t.Context(), db, sessions[0]); err == nil {
		t.Error("a session's value is taken for a token")
	}
	if err := auth.Logout(t.Context(), db, sessions[0]); err != nil {
		t.Fatal(err)
	}
	_, err = auth.Session(t.Context(), db, sessions[0])
	denied(t, "after logout", err)
	if _, err := auth.Session(t.Context(), db, sessions[1]); err != nil {
		t.Errorf("the other session ended, too: %v", err)
	}
	later(t, db, auth.SessionLifetime)
	_, err = auth.Session(t.Context(), db, sessions[1])
	denied(t, "after its lifetime", err)
}

func TestLinkOpensOneSessionOnce(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	_, p := create(t, db, "jane", 0, auth.Deploy)
	link, err := auth.Link(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = auth.Session(t.Context(), db, link)
	denied(t, "the link as a session", err)
	var (
		mu       sync.Mutex
		sessions []string
		all      sync.WaitGroup
	)
	for range 8 {
		all.Go(func() {
			if s, err := auth.Follow(t.Context(), db, link); err == nil {
				mu.Lock()
				defer mu.Unlock()
				sessions = append(sessions, s)
			}
		})
	}
	all.Wait()
	if len(sessions) != 1 {
		t.Fatalf("%d sessions were opened", len(sessions))
	}
	if got, err := auth.Session(t.Context(), db, sessions[0]); err != nil || got.Name != "jane" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLinkExpires(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	_, p := create(t, db, "jane", 0, auth.Deploy)
	link, err := auth.Link(t.Context(), db, p.TokenID)
	if err != nil {
		t.Fatal(err)
	}
	later(t, db, auth.LinkLifetime)
	_, err = auth.Follow(t.Context(), db, link)
	denied(t, "an old link", err)
	if _, err := auth.Login(t.Context(), db, p.TokenID); err != nil {
		t.Fatal(err)
	}
	var count int
	if err := db.QueryRow(t.Context(), `SELECT count(*) FROM sessions`).Scan(&count); err != nil || count != 1 {
		t.Errorf("%d sessions are kept, %v", count, err)
	}
}

func TestTokensAreListedWithTheirUseAndWithoutValues(t *testing.T) {
	t.Parallel()
	db := testenv.Pool(t)
	create(t, db, "used", time.Hour, auth.Read)
	if _, err := auth.CreateToken(t.Context(), db, "idle", []auth.Scope{auth.Admin}, 0); err != nil {
		t.Fatal(err)
	}
	list, err := auth.Tokens(t.Context(), db)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	idle, used := list[0], list[1]
	if idle.Name != "idle" || idle.UsedAt != nil || idle.ExpiresAt != nil || idle.RevokedAt != nil {
		t.Errorf("idle: %+v", idle)
	}
	if used.Name != "used" || used.UsedAt == nil || used.ExpiresAt == nil || used.ExpiresAt.Sub(used.CreatedAt) != time.Hour {
		t.Errorf("used: %+v", used)
	}
}

func TestAllStatementsFitTheSchema(t *testing.T) {
	t.Parallel()
	testenv.Statements(t, testenv.Pool(t))
}
