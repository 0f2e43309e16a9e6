package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform/recipe"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Resource is a resource that was provisioned, as people see it.
type Resource struct {
	Environment string            `json:"environment"`
	UID         string            `json:"uid"`
	Type        string            `json:"type"`
	Class       string            `json:"class"`
	ID          string            `json:"id,omitempty"`
	Provisioner string            `json:"provisioner"`
	Stateful    bool              `json:"stateful"`
	Params      json.RawMessage   `json:"params,omitempty"`
	Outputs     map[string]string `json:"outputs,omitempty"`
	// Users are the workloads that use it.
	Users       []string  `json:"users"`
	DescribedBy string    `json:"describedBy"`
	UpdatedAt   time.Time `json:"updatedAt"`

	State     []byte     `json:"-"`
	Record    []byte     `json:"-"`
	DeletedAt *time.Time `json:"-"`
}

const (
	sqlResources = `SELECT environment, uid, type, class, id, provisioner, stateful, params, outputs, users, described_by, updated_at,
state, record, deleted_at FROM resources WHERE ($1 = '' OR environment = $1) AND ($2 = '' OR $2 = ANY(users)) AND ($3 OR deleted_at IS NULL)
ORDER BY environment, uid`
	// Of those that share a resource, one describes it: the first, or who gives params that are new. What the others
	// evaluated does not count.
	sqlUpsertResource = `INSERT INTO resources AS r
(environment, uid, type, class, id, provisioner, stateful, params, outputs, state, record, users, described_by, token)
VALUES ($2, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, ARRAY[$3::text], $3, $14)
ON CONFLICT (environment, uid) DO UPDATE SET
  (provisioner, stateful, params, outputs, state, record, described_by) = (SELECT $8, $9, $10, $11, $12, $13, $3
    WHERE ` + describes + ` UNION ALL
    SELECT r.provisioner, r.stateful, r.params, r.outputs, r.state, r.record, r.described_by WHERE NOT (` + describes + `)),
  token = greatest(r.token, $14), updated_at = now(),
  users = CASE WHEN r.deleted_at IS NOT NULL THEN ARRAY[$3::text] WHEN $3 = ANY(r.users) THEN r.users ELSE r.users || $3::text END,
  deleted_at = NULL`
	// Names that the workload had are its own. A rollback ($15) takes nothing over: what it gives was once said.
	describes = `(r.deleted_at IS NOT NULL OR r.described_by IN ('', $3) OR r.described_by IN (` + formerNames + `) OR NOT $15
    AND $10::json IS NOT NULL AND coalesce(r.params::text, '') <> $10::json::text)`
	// The UIDs of what the run's workload uses and does not describe.
	sqlOthers = `SELECT uid FROM resources WHERE environment = $1 AND $2 = ANY(users) AND described_by <> $2 AND deleted_at IS NULL`
	// Those who use what the workload describes, or what the run with token $3 let go.
	sqlSharers = `SELECT DISTINCT u FROM resources, unnest(users) u
WHERE environment = $1 AND (described_by = $2 OR token = $3) AND u <> $2 AND deleted_at IS NULL`
	// What a workload may let go of. Who takes one of its former names meanwhile waits, or is seen by the next statement.
	sqlLockOwn = `SELECT FROM resources WHERE environment = $2 AND users && ARRAY(SELECT $3 UNION ` + formerNames + `) AND deleted_at IS NULL ORDER BY uid FOR UPDATE`
	// Takes a workload off all but $4, and its former names off all but $5. What it said of a resource that others share goes
	// with it.
	sqlRetire = `WITH names AS (SELECT $3 AS name, $4::text[] AS kept UNION ALL SELECT name, $5 FROM (` + formerNames + `) f),
sides AS (SELECT uid, array_agg(u) FILTER (WHERE n.name IS NOT NULL) AS leave, coalesce(array_agg(u ORDER BY at) FILTER (WHERE n.name IS NULL), '{}') AS stay
  FROM resources CROSS JOIN unnest(users) WITH ORDINALITY AS t(u, at) LEFT JOIN names n ON n.name = u AND NOT uid = ANY(n.kept)
  WHERE environment = $2 AND users && ARRAY(SELECT name FROM names) AND deleted_at IS NULL GROUP BY uid)
UPDATE resources r SET users = s.stay, token = greatest(token, $6),
  deleted_at = CASE WHEN s.stay = '{}' THEN now() END,
  params = CASE WHEN described_by = ANY(s.leave) AND s.stay <> '{}' THEN NULL ELSE params END,
  record = CASE WHEN described_by = ANY(s.leave) THEN NULL ELSE record END,
  described_by = CASE WHEN described_by = ANY(s.leave) THEN coalesce(s.stay[1], '') ELSE described_by END
FROM sides s WHERE r.environment = $2 AND r.uid = s.uid AND s.leave IS NOT NULL RETURNING r.uid, deleted_at IS NOT NULL`
	// What nobody but the workload uses, whatever its name was: a run that failed may have had another one for it.
	sqlOwn = `SELECT uid, type, class, stateful FROM resources
WHERE environment = $2 AND users <@ ARRAY(SELECT $3 UNION ` + formerNames + `) AND users <> '{}' AND deleted_at IS NULL ORDER BY uid`
	sqlShared      = `SELECT state FROM shared_states WHERE environment = $1`
	sqlLockState   = `SELECT pg_advisory_xact_lock(hashtextextended('shared state ' || $1, 11))`
	sqlStoreShared = `INSERT INTO shared_states (environment, state) VALUES ($1, $2)
ON CONFLICT (environment) DO UPDATE SET state = $2, updated_at = now()`
)

// Resources returns what is provisioned in an environment ("" for all) and used by a workload ("" for any).
func (s *Store) Resources(ctx context.Context, db postgres.Querier, environment, user string) ([]Resource, error) {
	list, err := postgres.Collect[Resource](db.Query(ctx, sqlResources, environment, user, false))
	return list, fault.While("read resources", err)
}

// Stored returns what planning has to know about an environment: its resources by UID, deleted ones too, and the state
// that all of them share.
func (s *Store) Stored(ctx context.Context, db postgres.Querier, environment string) (map[string]planner.StoredResource, map[string]any, error) {
	list, err := postgres.Collect[Resource](db.Query(ctx, sqlResources, environment, "", true))
	if err != nil {
		return nil, nil, fmt.Errorf("read resources: %w", err)
	}
	out := make(map[string]planner.StoredResource, len(list))
	for _, r := range list {
		stored := planner.StoredResource{
			Provisioner: r.Provisioner, Params: r.Params, DescribedBy: r.DescribedBy,
			Deleted: r.DeletedAt != nil,
		}
		if stored.State, err = s.openJSON(r.State, "resource "+environment+"/"+r.UID); err != nil {
			return nil, nil, err
		}
		if r.Record != nil {
			plain, err := s.Keys.Open(r.Record, "record "+environment+"/"+r.UID)
			if err != nil {
				return nil, nil, err
			}
			if err := json.Unmarshal(plain, &stored.Record); err != nil {
				return nil, nil, fmt.Errorf("read record of resource %s: %w", r.UID, err)
			}
		}
		out[r.UID] = stored
	}
	shared, err := s.shared(ctx, db, environment)
	return out, shared, err
}

// Base adds to a release that is in the target what a run that did not succeed may have left beside it.
func (s *Store) Base(ctx context.Context, db postgres.Querier, a planner.Application, applied planner.Base) (planner.Base, error) {
	own, err := postgres.Collect[planner.Left](db.Query(ctx, sqlOwn, a.ID, a.Environment, a.Name))
	if err != nil {
		return applied, fmt.Errorf("read resources: %w", err)
	}
	for _, l := range own {
		if applied.Release == nil || !slices.ContainsFunc(applied.Release.Resources, func(r planner.Resource) bool { return r.UID == l.UID }) {
			applied.Left = append(applied.Left, l)
		}
	}
	return applied, nil
}

// provisioned stores a resource of a release with its state. What others may share is stored as it was evaluated.
func (s *Store) provisioned(ctx context.Context, tx pgx.Tx, run Run, r planner.Resource, record recipe.Record) error {
	result, err := record.Read()
	if err != nil {
		return err
	}
	state, err := s.sealJSON(result.State, "resource "+run.Environment+"/"+r.UID)
	if err != nil {
		return err
	}
	var shared []byte
	if r.ID != "" && len(record.Result) > 0 {
		if shared, err = s.sealJSON(record, "record "+run.Environment+"/"+r.UID); err != nil {
			return err
		}
	}
	var params any
	if len(r.Params) > 0 {
		params = r.Params
	}
	_, err = tx.Exec(ctx, sqlUpsertResource, run.Application, run.Environment, run.Name, r.UID, r.Type, r.Class, r.ID, r.Provisioner,
		r.Stateful, params, r.Outputs, state, shared, run.Token, run.Kind == Rollback)
	return fault.While("store resource "+r.UID, err)
}

// describedByOthers returns the UIDs of the resources that a run's workload only uses.
func (s *Store) describedByOthers(ctx context.Context, db postgres.Querier, run Run) (map[string]bool, error) {
	rows, err := db.Query(ctx, sqlOthers, run.Environment, run.Name)
	if err != nil {
		return nil, fmt.Errorf("read who describes resources: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	out := make(map[string]bool, len(list))
	for _, uid := range list {
		out[uid] = true
	}
	return out, fault.While("read who describes resources", err)
}

// Sharers returns the workloads that use resources that a run's workload describes.
func (s *Store) Sharers(ctx context.Context, db postgres.Querier, run Run) ([]string, error) {
	rows, err := db.Query(ctx, sqlSharers, run.Environment, run.Name, run.Token)
	if err != nil {
		return nil, fmt.Errorf("read who shares resources: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, fault.While("read who shares resources", err)
}

// retire takes a run's workload off the resources that are not among those it keeps, and the names that it had off those that
// are not spared, and returns what nobody uses now. None of the lists is nil.
func (s *Store) retire(ctx context.Context, tx pgx.Tx, run Run, kept, spared []string) (deleted []string, err error) {
	if _, err := tx.Exec(ctx, sqlLockOwn, run.Application, run.Environment, run.Name); err != nil {
		return nil, fmt.Errorf("lock resources: %w", err)
	}
	rows, err := tx.Query(ctx, sqlRetire, run.Application, run.Environment, run.Name, kept, spared, run.Token)
	if err != nil {
		return nil, fmt.Errorf("retire resources: %w", err)
	}
	var uid string
	var gone bool
	_, err = pgx.ForEachRow(rows, []any{&uid, &gone}, func() error {
		if gone {
			deleted = append(deleted, uid)
		}
		return nil
	})
	return deleted, fault.While("retire resources", err)
}

// storeShared adds to the state that an environment's resources share. Another application may have added to it since
// this one was planned: what it added stays.
func (s *Store) storeShared(ctx context.Context, tx pgx.Tx, environment string, add map[string]any) error {
	if _, err := tx.Exec(ctx, sqlLockState, environment); err != nil {
		return fmt.Errorf("lock shared state: %w", err)
	}
	now, err := s.shared(ctx, tx, environment)
	if err != nil {
		return err
	}
	sealed, err := s.sealJSON(join(now, add), "shared state "+environment)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, sqlStoreShared, environment, sealed)
	return fault.While("store shared state", err)
}

// join returns a map with what both have; where they differ, add wins.
func join(now, add map[string]any) map[string]any {
	out := maps.Clone(add)
	for key, value := range now {
		have, both := out[key]
		a, isMap := value.(map[string]any)
		b, isMapToo := have.(map[string]any)
		switch {
		case isMap && isMapToo:
			out[key] = join(a, b)
		case !both:
			out[key] = value
		}
	}
	return out
}

// shared returns the state that an environment's resources share; nil if there is none.
func (s *Store) shared(ctx context.Context, db postgres.Querier, environment string) (map[string]any, error) {
	var sealed []byte
	if err := db.QueryRow(ctx, sqlShared, environment).Scan(&sealed); err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("read shared state: %w", err)
	}
	return s.openJSON(sealed, "shared state "+environment)
}

func (s *Store) sealJSON(v any, context string) ([]byte, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", context, err)
	}
	return s.Keys.Seal(plain, context), nil
}

func (s *Store) openJSON(sealed []byte, context string) (map[string]any, error) {
	if sealed == nil {
		return nil, nil
	}
	plain, err := s.Keys.Open(sealed, context)
	if err != nil {
		return nil, err
	}
	out, err := recipe.Decode(plain)
	return out, fault.While("read "+context, err)
}
