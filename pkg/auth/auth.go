package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Scope is what a token may do. Each includes those before it.
type Scope string

// The scopes.
const (
	// Read sees everything that is shown; secret values never are.
	Read Scope = "read"
	// Deploy also holds, resumes, rolls back, retries, cancels and confirms.
	Deploy Scope = "deploy"
	// Admin also changes repositories and tokens.
	Admin Scope = "admin"
)

var ranks = []Scope{Read, Deploy, Admin}

// Scopes returns all scopes, the least first.
func Scopes() []Scope { return slices.Clone(ranks) }

// Principal is who makes a request.
type Principal struct {
	TokenID int64
	Name    string
	Scopes  []Scope
}

// May says whether the principal has a scope or one that includes it. Nobody has a scope that does not exist.
func (p Principal) May(s Scope) bool {
	needed := slices.Index(ranks, s)
	return needed >= 0 && slices.ContainsFunc(p.Scopes, func(have Scope) bool { return slices.Index(ranks, have) >= needed })
}

// Token is a token as people see it: never its value.
type Token struct {
	ID        int64      `json:"id"`
	Name      string     `json:"name"`
	Scopes    []Scope    `json:"scopes"`
	CreatedAt time.Time  `json:"createdAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	UsedAt    *time.Time `json:"usedAt,omitempty"`
	RevokedAt *time.Time `json:"revokedAt,omitempty"`
}

const (
	tokenColumns = `id, name, scopes, created_at, expires_at, used_at, revoked_at`
	// $4 is the lifetime in seconds, 0 for none. A name that is used again keeps its row, which must not bring the sessions
	// of the old token back to life.
	sqlInsertToken = `WITH made AS (
	INSERT INTO tokens (name, hash, scopes, expires_at) VALUES ($1, $2, $3, CASE WHEN $4 > 0 THEN now() + make_interval(secs => $4) END)
	ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, scopes = excluded.scopes, expires_at = excluded.expires_at,
		created_at = now(), used_at = NULL, revoked_at = NULL
	WHERE tokens.revoked_at IS NOT NULL OR tokens.expires_at <= now() RETURNING id),
gone AS (DELETE FROM sessions WHERE token IN (SELECT id FROM made))
SELECT id FROM made`
	sqlTokens = `SELECT ` + tokenColumns + ` FROM tokens ORDER BY name`
	sqlRevoke = `WITH ended AS (UPDATE tokens SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL RETURNING id),
gone AS (DELETE FROM sessions WHERE token IN (SELECT id FROM ended))
SELECT id FROM ended`
	sqlByHash = `SELECT ` + tokenColumns + ` FROM tokens WHERE hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`
	sqlUsed   = `UPDATE tokens SET used_at = now() WHERE id = $1 AND (used_at IS NULL OR used_at < now() - interval '1 minute')`
	// What has expired is cleared away where something is added.
	sqlOpenSession = `WITH old AS (DELETE FROM sessions WHERE expires_at <= now())
INSERT INTO sessions (hash, token, once, expires_at) VALUES ($1, $2, $3, now() + make_interval(secs => $4))`
	sqlBySession = `SELECT t.id, t.name, t.scopes, t.created_at, t.expires_at, t.used_at, t.revoked_at FROM sessions s JOIN tokens t ON t.id = s.token
WHERE s.hash = $1 AND NOT s.once AND s.expires_at > now() AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())`
	sqlUseOnce = `DELETE FROM sessions s USING tokens t WHERE s.hash = $1 AND s.once AND s.expires_at > now()
AND t.id = s.token AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now()) RETURNING t.id`
	sqlCloseSession = `DELETE FROM sessions WHERE hash = $1`
)

const (
	// prefix lets people and secret scanners know a token of ours.
	prefix = "rec_"
	// SessionLifetime is how long a browser stays logged in; LinkLifetime how long a login link waits.
	SessionLifetime = 12 * time.Hour
	LinkLifetime    = 10 * time.Minute
)

// CreateToken makes a token and returns its value, which cannot be had again. lifetime 0 means that it does not expire.
// A name can be used again once its token is revoked or expired.
func CreateToken(ctx context.Context, db postgres.Querier, name string, scopes []Scope, lifetime time.Duration) (string, error) {
	if name == "" || len(scopes) == 0 {
		return "", fault.New(fault.TokenInvalid, "a token needs a name and at least one scope")
	}
	if lifetime < 0 {
		return "", fault.New(fault.TokenInvalid, "a token cannot have expired before it is made")
	}
	for _, s := range scopes {
		if !slices.Contains(ranks, s) {
			return "", fault.New(fault.TokenInvalid, "there is no scope %q", s).Do("The scopes are read, deploy and admin.")
		}
	}
	value := random()
	var id int64
	err := db.QueryRow(ctx, sqlInsertToken, name, hash(value), scopes, lifetime.Seconds()).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fault.New(fault.TokenInvalid, "there is a token %q already", name).Do("Choose another name, or revoke it first: reconciler token revoke %s.", name)
	}
	if err != nil {
		return "", fmt.Errorf("store token: %w", err)
	}
	return value, nil
}

// Tokens returns all tokens by name.
func Tokens(ctx context.Context, db postgres.Querier) ([]Token, error) {
	list, err := collect(db.Query(ctx, sqlTokens))
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	return list, nil
}

// RevokeToken ends a token and all its sessions.
func RevokeToken(ctx context.Context, db postgres.Querier, name string) error {
	var id int64
	err := db.QueryRow(ctx, sqlRevoke, name).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.TokenInvalid, "there is no token %q", name)
	}
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	return nil
}

// Bearer returns who has a token, or a [fault.Unauthenticated].
func Bearer(ctx context.Context, db postgres.Querier, value string) (Principal, error) {
	if !strings.HasPrefix(value, prefix) {
		return Principal{}, denied()
	}
	p, err := principal(db.Query(ctx, sqlByHash, hash(value)))
	if err != nil {
		return Principal{}, err
	}
	if _, err := db.Exec(ctx, sqlUsed, p.TokenID); err != nil {
		return Principal{}, fmt.Errorf("note use of token: %w", err)
	}
	return p, nil
}

// Login opens a browser's session for a token and returns its value for a cookie.
func Login(ctx context.Context, db postgres.Querier, tokenID int64) (string, error) {
	return open(ctx, db, tokenID, false, SessionLifetime)
}

// Link returns a value that opens one session later, for a link that is printed to a terminal.
func Link(ctx context.Context, db postgres.Querier, tokenID int64) (string, error) {
	return open(ctx, db, tokenID, true, LinkLifetime)
}

func open(ctx context.Context, db postgres.Querier, tokenID int64, once bool, lifetime time.Duration) (string, error) {
	value := random()
	if _, err := db.Exec(ctx, sqlOpenSession, hash(value), tokenID, once, lifetime.Seconds()); err != nil {
		return "", fmt.Errorf("open session: %w", err)
	}
	return value, nil
}

// Follow uses a value of [Link] and opens the session that it stands for.
func Follow(ctx context.Context, db postgres.Querier, link string) (string, error) {
	var token int64
	err := db.QueryRow(ctx, sqlUseOnce, hash(link)).Scan(&token)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", denied()
	}
	if err != nil {
		return "", fmt.Errorf("use login link: %w", err)
	}
	return Login(ctx, db, token)
}

// Session returns who is logged in with a cookie's value.
func Session(ctx context.Context, db postgres.Querier, value string) (Principal, error) {
	return principal(db.Query(ctx, sqlBySession, hash(value)))
}

// Logout ends a session.
func Logout(ctx context.Context, db postgres.Querier, value string) error {
	if _, err := db.Exec(ctx, sqlCloseSession, hash(value)); err != nil {
		return fmt.Errorf("close session: %w", err)
	}
	return nil
}

func principal(rows pgx.Rows, err error) (Principal, error) {
	list, err := collect(rows, err)
	if err != nil {
		return Principal{}, fmt.Errorf("look up token: %w", err)
	}
	if len(list) == 0 {
		return Principal{}, denied()
	}
	return Principal{TokenID: list[0].ID, Name: list[0].Name, Scopes: list[0].Scopes}, nil
}

func collect(rows pgx.Rows, err error) ([]Token, error) {
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByName[Token])
}

func denied() error { return fault.New(fault.Unauthenticated, "no valid token was given") }

// random returns a token with 256 bits from the system's source of randomness.
func random() string {
	b := make([]byte, 32)
	rand.Read(b)
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

// hash is what is stored of a token. Tokens are random, so that a fast hash is enough: there is nothing to guess.
func hash(value string) []byte {
	sum := sha256.Sum256([]byte(value))
	return sum[:]
}
