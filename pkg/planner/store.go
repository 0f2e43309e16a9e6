package planner

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/secret"
)

// Store keeps applications, releases and plans. Its methods take what they run on, so that a caller's transaction can
// hold several of them.
type Store struct {
	Keys *secret.Keyring
}

// Application is a Score file of a repository in an environment.
type Application struct {
	ID          int64
	Environment string
	Name        string
	Repository  string
	Path        string
	// Generation is the newest desired one, Applied the one that was applied last; 0 means none.
	Generation int64
	Applied    int64
	Inputs     string
	Commit     string
	// Asked is the digest of the release that the branch asks for, "" for a removal; nil before the first evaluation.
	Asked  *string
	Faults fault.List
	// Waiting is the plan that waits for a confirmation, WaitingFor why; "" and nil if none does.
	Waiting    string
	WaitingFor *fault.Fault
	Hold       *Hold `db:"-"`
	RemovedAt  *time.Time
	CreatedAt  time.Time

	HoldReason *string
	HoldBy     *string
	HoldDigest *string
	HoldSince  *time.Time
}

// Hold says that nothing is deployed by itself.
type Hold struct {
	Reason string
	By     string
	// Digest is the one release that is held back; "" holds back all.
	Digest string
	Since  time.Time
}

// Holds says whether the hold keeps a release of a digest back, "" for a removal. It may be called on nil.
func (h *Hold) Holds(digest string) bool {
	return h.HoldsAll() || h != nil && h.Digest == HeldDigest(digest)
}

// HoldsAll says whether the hold is a person's, for whatever release. It may be called on nil.
func (h *Hold) HoldsAll() bool { return h != nil && h.Digest == "" }

// HeldDigest is what a hold has of the one release that it keeps back. A removal has no digest, and a hold without one
// would keep back what puts the application back too.
func HeldDigest(digest string) string { return cmp.Or(digest, "removal") }

const applicationColumns = `id, environment, name, repository, path, generation, applied, inputs, commit, asked, faults, ` +
	`coalesce(waiting, '') AS waiting, waiting_for, hold_reason, hold_by, hold_digest, hold_since, removed_at, created_at`

const (
	sqlApplications = `SELECT ` + applicationColumns + ` FROM applications
WHERE ($1 = '' OR environment = $1) AND ($2 = '' OR repository = $2) AND ($3 = '' OR name = $3) AND removed_at IS NULL
ORDER BY environment, name`
	sqlApplication = `SELECT ` + applicationColumns + ` FROM applications WHERE id = $1`
	// The row lock makes evaluations of one application wait for each other.
	sqlLockApplication = `SELECT ` + applicationColumns + ` FROM applications WHERE id = $1 FOR UPDATE`
	// A removed application that comes back goes on with its generations; another workload at its place is another one.
	sqlRevive = `UPDATE applications SET removed_at = NULL, path = $3, faults = NULL
WHERE id = (SELECT id FROM applications WHERE environment = $1 AND repository = $2 AND name = $4 AND removed_at IS NOT NULL ORDER BY id DESC LIMIT 1)
RETURNING ` + applicationColumns
	sqlInsertApplication = `INSERT INTO applications (environment, repository, path, name) VALUES ($1, $2, $3, $4)
RETURNING ` + applicationColumns
	sqlEvaluated = `UPDATE applications SET inputs = $2, commit = $3, faults = $4, name = $5, asked = $6 WHERE id = $1`
	sqlMove      = `UPDATE applications SET path = $2 WHERE id = $1`
	sqlWait      = `UPDATE applications SET waiting = nullif($2, ''), waiting_for = $3 WHERE id = $1`
	sqlHold      = `UPDATE applications SET hold_reason = $2, hold_by = $3, hold_digest = $4, hold_since = coalesce($5, now()) WHERE id = $1`
	sqlUnhold    = `UPDATE applications SET hold_reason = NULL, hold_by = NULL, hold_digest = NULL, hold_since = NULL WHERE id = $1`
	sqlApplied   = `UPDATE applications SET applied = $2 WHERE id = $1 AND applied <= $2`
	sqlRemoved   = `UPDATE applications SET removed_at = now(), applied = $2, inputs = '' WHERE id = $1 AND generation = $2`
)

// Filter chooses applications; "" takes any.
type Filter struct{ Environment, Repository, Name string }

// Applications returns those that are not removed, by environment and name.
func (s *Store) Applications(ctx context.Context, db postgres.Querier, f Filter) ([]Application, error) {
	return collectApplications(db.Query(ctx, sqlApplications, f.Environment, f.Repository, f.Name))
}

// Application returns an application by id, also a removed one.
func (s *Store) Application(ctx context.Context, db postgres.Querier, id int64) (Application, error) {
	return oneApplication(db.Query(ctx, sqlApplication, id))
}

// Lock returns an application and keeps others from changing it until the transaction ends.
func (s *Store) Lock(ctx context.Context, tx pgx.Tx, id int64) (Application, error) {
	return oneApplication(tx.Query(ctx, sqlLockApplication, id))
}

// Named returns the application of a name in an environment, or a fault.
func (s *Store) Named(ctx context.Context, db postgres.Querier, environment, name string) (Application, error) {
	list, err := s.Applications(ctx, db, Filter{Environment: environment, Name: name})
	if err != nil {
		return Application{}, err
	}
	if len(list) == 0 {
		return Application{}, fault.New(fault.AppUnknown, "no application %q is known in environment %q", name, environment)
	}
	return list[0], nil
}

// Create makes the row of an application, or brings back the one that was removed.
func (s *Store) Create(ctx context.Context, tx pgx.Tx, environment, repository, path, name string) (Application, error) {
	a, err := oneApplication(tx.Query(ctx, sqlRevive, environment, repository, path, name))
	if errors.Is(err, pgx.ErrNoRows) {
		a, err = oneApplication(tx.Query(ctx, sqlInsertApplication, environment, repository, path, name))
	}
	return a, err
}

// Evaluated notes what the newest look at an application gave.
func (s *Store) Evaluated(ctx context.Context, tx pgx.Tx, a Application) error {
	_, err := tx.Exec(ctx, sqlEvaluated, a.ID, a.Inputs, a.Commit, orNull(a.Faults), a.Name, a.Asked)
	return fault.While("note evaluation", err)
}

// Move gives applications new paths by id. Two may change places: none is at its new one before all have left.
func (s *Store) Move(ctx context.Context, tx pgx.Tx, paths map[int64]string) error {
	for id := range paths {
		if _, err := tx.Exec(ctx, sqlMove, id, fmt.Sprintf("moving %d", id)); err != nil {
			return fmt.Errorf("move application: %w", err)
		}
	}
	for id, path := range paths {
		if _, err := tx.Exec(ctx, sqlMove, id, path); err != nil {
			return fmt.Errorf("move application: %w", err)
		}
	}
	return nil
}

// Wait notes the plan that waits for a person; "" if none does.
func (s *Store) Wait(ctx context.Context, tx pgx.Tx, application int64, plan string, why *fault.Fault) error {
	_, err := tx.Exec(ctx, sqlWait, application, plan, why)
	return fault.While("note waiting plan", err)
}

// SetHold stops automatic deployment of an application, since now if the hold has no time of its own.
func (s *Store) SetHold(ctx context.Context, tx pgx.Tx, application int64, h Hold) error {
	var since *time.Time
	if !h.Since.IsZero() {
		since = &h.Since
	}
	_, err := tx.Exec(ctx, sqlHold, application, h.Reason, h.By, h.Digest, since)
	return fault.While("set hold", err)
}

// LiftHold allows automatic deployment again.
func (s *Store) LiftHold(ctx context.Context, tx pgx.Tx, application int64) error {
	_, err := tx.Exec(ctx, sqlUnhold, application)
	return fault.While("lift hold", err)
}

// Applied notes that a generation is in the target. An older one than is noted changes nothing.
func (s *Store) Applied(ctx context.Context, tx pgx.Tx, application, generation int64) error {
	_, err := tx.Exec(ctx, sqlApplied, application, generation)
	return fault.While("note applied generation", err)
}

// Removed notes that an application is gone from the target, unless something newer is desired by now.
func (s *Store) Removed(ctx context.Context, tx pgx.Tx, application, generation int64) error {
	_, err := tx.Exec(ctx, sqlRemoved, application, generation)
	return fault.While("note removal", err)
}

func collectApplications(rows pgx.Rows, err error) ([]Application, error) {
	list, err := postgres.Collect[Application](rows, err)
	if err != nil {
		return nil, fmt.Errorf("read applications: %w", err)
	}
	for i := range list {
		list[i].fold()
	}
	return list, nil
}

func oneApplication(rows pgx.Rows, err error) (Application, error) {
	list, err := collectApplications(rows, err)
	if err == nil && len(list) == 0 {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return Application{}, err
	}
	return list[0], nil
}

func (a *Application) fold() {
	if a.HoldReason != nil {
		a.Hold = &Hold{Reason: *a.HoldReason, By: *a.HoldBy, Digest: *a.HoldDigest, Since: *a.HoldSince}
	}
}

func orNull(l fault.List) any {
	if len(l) == 0 {
		return nil
	}
	return l
}

// Services returns how the newest desired releases of an environment are reached, by workload.
func (s *Store) Services(ctx context.Context, db postgres.Querier, environment string) (map[string]recipe.Service, error) {
	rows, err := db.Query(ctx, sqlServices, environment)
	if err != nil {
		return nil, fmt.Errorf("read services: %w", err)
	}
	out := map[string]recipe.Service{}
	var name string
	var text []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &text}, func() error {
		var service recipe.Service
		err := json.Unmarshal(text, &service)
		out[name] = service
		return err
	})
	return out, fault.While("read services", err)
}

const sqlServices = `SELECT a.name, r.content->'service' FROM applications a
JOIN releases r ON r.application = a.id AND r.generation = a.generation
WHERE a.environment = $1 AND a.removed_at IS NULL AND r.content->'service' IS NOT NULL`
