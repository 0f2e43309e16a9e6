package planner

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// PlanRecord is a plan with what is known about it.
type PlanRecord struct {
	ID          string
	Repository  string
	Environment string
	Application string
	Commit      string
	// Pull is the pull request that showed the plan, or nil.
	Pull        *int64
	ConfirmedBy *string
	ConfirmedAt *time.Time
	CreatedAt   time.Time
	// Plan is nil in lists.
	Plan *Plan `db:"-"`
}

const planColumns = `id, repository, environment, application, commit, pull, confirmed_by, confirmed_at, created_at`

const (
	// The same plan made again is the same row; who showed and confirmed it stays.
	sqlStorePlan = `INSERT INTO plans (id, repository, environment, application, content, commit, pull)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (id) DO UPDATE SET content = EXCLUDED.content, commit = EXCLUDED.commit, pull = coalesce(EXCLUDED.pull, plans.pull), created_at = now()`
	sqlPlan  = `SELECT ` + planColumns + ` FROM plans WHERE id = $1`
	sqlPlans = `SELECT ` + planColumns + ` FROM plans
WHERE ($1 = '' OR environment = $1) AND ($2 = '' OR repository = $2) AND ($3 = '' OR application = $3)
ORDER BY created_at DESC LIMIT $4`
	sqlConfirmed   = `SELECT EXISTS (SELECT FROM plans WHERE id = $1 AND confirmed_by IS NOT NULL)`
	sqlPlanContent = `SELECT content FROM plans WHERE id = $1`
	sqlConfirm     = `UPDATE plans SET confirmed_by = $2, confirmed_at = now() WHERE id = $1 AND confirmed_by IS NULL`
)

// StorePlan keeps a plan. pull is the pull request that shows it, or 0.
func (s *Store) StorePlan(ctx context.Context, db postgres.Querier, p *Plan, repository, commit string, pull int64) error {
	content, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("write plan: %w", err)
	}
	var shown *int64
	if pull > 0 {
		shown = &pull
	}
	_, err = db.Exec(ctx, sqlStorePlan, p.ID, repository, p.Environment, p.Application, content, commit, shown)
	return fault.While("store plan", err)
}

// Plan returns a stored plan.
func (s *Store) Plan(ctx context.Context, db postgres.Querier, id string) (PlanRecord, error) {
	list, err := postgres.Collect[PlanRecord](db.Query(ctx, sqlPlan, id))
	if err != nil {
		return PlanRecord{}, fmt.Errorf("read plan: %w", err)
	}
	if len(list) == 0 {
		return PlanRecord{}, fault.New(fault.PlanUnknown, "there is no plan %q", id)
	}
	var content []byte
	if err := db.QueryRow(ctx, sqlPlanContent, id).Scan(&content); err != nil {
		return PlanRecord{}, fmt.Errorf("read plan: %w", err)
	}
	list[0].Plan = &Plan{}
	return list[0], fault.While("read plan", json.Unmarshal(content, list[0].Plan))
}

// Confirmed says whether a person wants a plan that deletes something. One that is not stored is not confirmed.
func (s *Store) Confirmed(ctx context.Context, db postgres.Querier, id string) (confirmed bool, err error) {
	err = db.QueryRow(ctx, sqlConfirmed, id).Scan(&confirmed)
	return confirmed, fault.While("read plan", err)
}

// Plans returns the newest plans, the newest first, without content.
func (s *Store) Plans(ctx context.Context, db postgres.Querier, f Filter, limit int) ([]PlanRecord, error) {
	list, err := postgres.Collect[PlanRecord](db.Query(ctx, sqlPlans, f.Environment, f.Repository, f.Name, limit))
	return list, fault.While("read plans", err)
}

// Confirm notes that a person wants a plan that waits for a confirmation.
func (s *Store) Confirm(ctx context.Context, tx pgx.Tx, id, by string) error {
	tag, err := tx.Exec(ctx, sqlConfirm, id, by)
	if err == nil && tag.RowsAffected() == 0 {
		return fault.New(fault.PlanNotWaiting, "plan %s was confirmed before", id)
	}
	return fault.While("confirm plan", err)
}
