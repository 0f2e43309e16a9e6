package planner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Record is a release with what is known about it.
type Record struct {
	Application int64
	Generation  int64
	// Digest is "" for a release that removes the application.
	Digest string
	Plan   string
	Commit string
	// Cause is why it was made: commit, rollback, retry, confirm or platform.
	Cause string
	// Of is the generation whose content this is again, or nil.
	Of        *int64
	CreatedAt time.Time
	// Release is nil for a removal, and in lists.
	Release *Release `db:"-"`
}

const recordColumns = `application, generation, digest, plan, commit, cause, of, created_at`

const (
	// The application's row is locked by the caller, so that the generation is his.
	// What is rolled back to was not made of the newest inputs: the next evaluation has to look again.
	sqlNextGeneration = `UPDATE applications SET generation = generation + 1, commit = $2, inputs = CASE WHEN $3 = 'rollback' THEN '' ELSE inputs END
WHERE id = $1 RETURNING generation`
	sqlInsertRelease = `INSERT INTO releases (application, generation, digest, content, hidden, plan, commit, cause, of)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	sqlRelease = `SELECT content, hidden FROM releases WHERE application = $1 AND generation = $2`
	sqlRecord  = `SELECT ` + recordColumns + ` FROM releases WHERE application = $1 AND generation = $2`
	sqlRecords = `SELECT ` + recordColumns + ` FROM releases WHERE application = $1 ORDER BY generation DESC LIMIT $2`
	// Not across a removal: what was removed on purpose does not come back by itself.
	sqlLastGood = `SELECT max(generation) FROM releases WHERE application = $1 AND generation = ANY($2) AND generation < $3 AND generation >
(SELECT coalesce(max(generation), 0) FROM releases WHERE application = $1 AND generation < $3 AND digest = '')`
	sqlReleaseOf     = `SELECT coalesce(of, 0) FROM releases WHERE application = $1 AND generation = $2`
	sqlReleaseDigest = `SELECT digest FROM releases WHERE application = $1 AND generation = $2`
)

// NextRelease stores a release as the newest desired one and returns its generation. r is nil for a removal. The
// caller holds the application's lock.
func (s *Store) NextRelease(ctx context.Context, tx pgx.Tx, rec Record, r *Release) (int64, error) {
	var generation int64
	if err := tx.QueryRow(ctx, sqlNextGeneration, rec.Application, rec.Commit, rec.Cause).Scan(&generation); err != nil {
		return 0, fmt.Errorf("count generation: %w", err)
	}
	var content, hidden []byte
	digest := ""
	if r != nil {
		var err error
		if content, err = json.Marshal(r); err != nil {
			return 0, fmt.Errorf("write release: %w", err)
		}
		plain, err := json.Marshal(r.Hidden)
		if err != nil {
			return 0, fmt.Errorf("write release: %w", err)
		}
		hidden, digest = s.Keys.Seal(plain, sealContext(rec.Application, generation)), r.Digest
	}
	_, err := tx.Exec(ctx, sqlInsertRelease, rec.Application, generation, digest, content, hidden, rec.Plan, rec.Commit, rec.Cause, rec.Of)
	return generation, fault.While("store release", err)
}

func sealContext(application, generation int64) string {
	return fmt.Sprintf("release %d/%d", application, generation)
}

// Release returns a stored release with its hidden part; nil if that generation removes the application.
func (s *Store) Release(ctx context.Context, db postgres.Querier, application, generation int64) (*Release, error) {
	var content, hidden []byte
	err := db.QueryRow(ctx, sqlRelease, application, generation).Scan(&content, &hidden)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.ReleaseUnknown, "there is no release of generation %d", generation)
	}
	if err != nil || content == nil {
		return nil, fault.While("read release", err)
	}
	r := &Release{}
	if err := json.Unmarshal(content, r); err != nil {
		return nil, fmt.Errorf("read release %d/%d: %w", application, generation, err)
	}
	plain, err := s.Keys.Open(hidden, sealContext(application, generation))
	if err != nil {
		return nil, fmt.Errorf("read release %d/%d: %w", application, generation, err)
	}
	return r, fault.While("read release", json.Unmarshal(plain, &r.Hidden))
}

// Base returns what an application's plans are compared with: the release that was applied last.
func (s *Store) Base(ctx context.Context, db postgres.Querier, a Application) (Base, error) {
	if a.Applied == 0 || a.RemovedAt != nil {
		return Base{}, nil
	}
	r, err := s.Release(ctx, db, a.ID, a.Applied)
	return Base{Generation: a.Applied, Release: r}, err
}

// Record returns what is known about a release, with its content.
func (s *Store) Record(ctx context.Context, db postgres.Querier, application, generation int64) (Record, error) {
	list, err := postgres.Collect[Record](db.Query(ctx, sqlRecord, application, generation))
	if err != nil {
		return Record{}, fmt.Errorf("read release: %w", err)
	}
	if len(list) == 0 {
		return Record{}, fault.New(fault.ReleaseUnknown, "there is no release of generation %d", generation)
	}
	list[0].Release, err = s.Release(ctx, db, application, generation)
	return list[0], err
}

// Records returns an application's newest releases, the newest first, without content.
func (s *Store) Records(ctx context.Context, db postgres.Querier, application int64, limit int) ([]Record, error) {
	list, err := postgres.Collect[Record](db.Query(ctx, sqlRecords, application, limit))
	return list, fault.While("read releases", err)
}

// LastGood returns the newest generation below one among those that succeeded, 0 if there is none.
func (s *Store) LastGood(ctx context.Context, db postgres.Querier, application int64, succeeded []int64, below int64) (int64, error) {
	var generation *int64
	if err := db.QueryRow(ctx, sqlLastGood, application, succeeded, below).Scan(&generation); err != nil || generation == nil {
		return 0, fault.While("find last good release", err)
	}
	return *generation, nil
}

// Of returns the generation whose content a stored release is again, 0 for none.
func (s *Store) Of(ctx context.Context, db postgres.Querier, application, generation int64) (of int64, err error) {
	err = db.QueryRow(ctx, sqlReleaseOf, application, generation).Scan(&of)
	return of, fault.While("read release", err)
}

// Digest returns the digest of a stored release; "" for a removal and for generation 0.
func (s *Store) Digest(ctx context.Context, db postgres.Querier, application, generation int64) (string, error) {
	if generation == 0 {
		return "", nil
	}
	var digest string
	err := db.QueryRow(ctx, sqlReleaseDigest, application, generation).Scan(&digest)
	return digest, fault.While("read release", err)
}
