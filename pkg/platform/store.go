package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Revision is a version of the platform configuration that was seen.
type Revision struct {
	ID     int64  `json:"id"`
	Digest string `json:"digest"`
	// Source is where it came from: a folder, or a repository with its branch and folder. Commit is its commit there.
	Source    string     `json:"source"`
	Commit    string     `json:"commit,omitempty"`
	Faults    fault.List `json:"faults,omitempty"`
	Valid     bool       `json:"valid"`
	CreatedAt time.Time  `json:"createdAt"`
}

const (
	revisionColumns = `id, digest, source, commit, faults, valid, created_at`
	sqlNewestValid  = `SELECT id, files FROM platform_revisions WHERE valid ORDER BY id DESC LIMIT 1`
	sqlInForce      = `SELECT digest FROM platform_revisions WHERE valid ORDER BY id DESC LIMIT 1`
	sqlNewestID     = `SELECT coalesce(max(id), 0) FROM platform_revisions WHERE valid`
	sqlRevisions    = `SELECT ` + revisionColumns + ` FROM platform_revisions ORDER BY id DESC LIMIT $1`
	sqlInsert       = `INSERT INTO platform_revisions (digest, source, commit, files, faults, valid) VALUES ($1, $2, $3, $4, $5, $6)`
	// Replicas that offer at the same time take turns.
	sqlLock = `SELECT pg_advisory_xact_lock(hashtextextended('platform configuration', 11))`
)

// Candidate is a version of the platform configuration as it was read.
type Candidate struct {
	// Source and Commit are as in a [Revision]; a folder has no commit.
	Source, Commit string
	Files          Files
	// Since is the newest version when reading began, as [Store.Newest] gives it.
	Since Revision
}

// ErrOvertaken says that another version was offered while one was read. Whoever reads again reads the newest.
var ErrOvertaken = errors.New("another platform configuration was offered meanwhile")

// Store keeps versions of the platform configuration in the database, so that every replica plans with the same one.
type Store struct {
	// Check, if set, says what beside the configuration itself keeps a version from coming into force.
	Check func(ctx context.Context, tx pgx.Tx, p *Platform) (fault.List, error)

	mu      sync.Mutex
	id      int64
	current *Platform
}

// Current returns the newest valid version, or a [fault.PlatformMissing].
func (s *Store) Current(ctx context.Context, db postgres.Querier) (*Platform, error) {
	var newest int64
	if err := db.QueryRow(ctx, sqlNewestID).Scan(&newest); err != nil {
		return nil, fmt.Errorf("read platform configuration: %w", err)
	}
	// Not while the database is asked: who waits for a connection must not keep those who have one.
	if p := s.known(newest); p != nil {
		return p, nil
	}
	var id int64
	var text []byte
	err := db.QueryRow(ctx, sqlNewestValid).Scan(&id, &text)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.PlatformMissing, "no valid platform configuration was loaded yet")
	}
	if err != nil {
		return nil, fmt.Errorf("read platform configuration: %w", err)
	}
	var files Files
	if err := json.Unmarshal(text, &files); err != nil {
		return nil, fmt.Errorf("read platform configuration: %w", err)
	}
	p, faults := Load(files)
	if p == nil {
		return nil, fault.New(fault.ConfigNewer, "platform configuration %d: %s", id, faults.Err())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id, s.current = id, p
	return p, nil
}

// known returns a version that was loaded last, nil if that is another one.
func (s *Store) known(id int64) *Platform {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id != id {
		return nil
	}
	return s.current
}

// Offer takes a version that was read. A valid one comes into force if it differs from the one that is; an invalid one
// changes nothing and is kept for people. changed says that another version is in force now. The error is [ErrOvertaken] if
// another one was offered since reading began: it may be newer.
func (s *Store) Offer(ctx context.Context, tx pgx.Tx, c Candidate) (changed bool, faults fault.List, err error) {
	if _, err := tx.Exec(ctx, sqlLock); err != nil {
		return false, nil, fmt.Errorf("lock platform configuration: %w", err)
	}
	last, err := s.Newest(ctx, tx)
	if err != nil {
		return false, nil, err
	}
	digest := c.Files.Digest()
	if last.ID != c.Since.ID && last.Digest != digest {
		return false, nil, ErrOvertaken
	}
	p, faults := Load(c.Files)
	if p != nil && s.Check != nil {
		more, err := s.Check(ctx, tx, p)
		if err != nil {
			return false, nil, err
		}
		if faults = append(faults, more...); faults.Err() != nil {
			p = nil
		}
	}
	if last.Digest == digest && last.Valid == (p != nil) {
		return false, faults, nil
	}
	var inForce string
	if err := tx.QueryRow(ctx, sqlInForce).Scan(&inForce); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, nil, fmt.Errorf("read platform configuration: %w", err)
	}
	var content any
	if p != nil {
		content = c.Files
	}
	var problems any
	if len(faults) > 0 {
		problems = faults
	}
	if _, err := tx.Exec(ctx, sqlInsert, digest, c.Source, c.Commit, content, problems, p != nil); err != nil {
		return false, nil, fmt.Errorf("store platform configuration: %w", err)
	}
	return p != nil && digest != inForce, faults, nil
}

// Newest returns the newest version, in force or not; the zero Revision if there is none.
func (s *Store) Newest(ctx context.Context, db postgres.Querier) (Revision, error) {
	list, err := s.Revisions(ctx, db, 1)
	if err != nil || len(list) == 0 {
		return Revision{}, err
	}
	return list[0], nil
}

// Revisions returns the newest versions, the newest first.
func (s *Store) Revisions(ctx context.Context, db postgres.Querier, limit int) ([]Revision, error) {
	rows, err := db.Query(ctx, sqlRevisions, limit)
	if err != nil {
		return nil, fmt.Errorf("read platform revisions: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Revision])
	if err != nil {
		return nil, fmt.Errorf("read platform revisions: %w", err)
	}
	return list, nil
}
