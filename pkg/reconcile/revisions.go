package reconcile

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/postgres"
)

// Summary is what became of a commit in an environment, in numbers.
type Summary struct {
	Repository  string `json:"repository"`
	Commit      string `json:"commit"`
	Environment string `json:"environment"`
	// Ref is a branch, or a pull request as #7.
	Ref          string `json:"ref"`
	Applications int    `json:"applications"`
	// Invalid counts the Score files that cannot be deployed.
	Invalid   int       `json:"invalid"`
	CreatedAt time.Time `json:"createdAt"`
}

const (
	// isInvalid is true of an outcome o that has a fault that stops. Faults of before have a severity only if they are
	// warnings.
	isInvalid = `EXISTS (SELECT FROM json_array_elements(o -> 'faults') AS f WHERE coalesce(f ->> 'severity', 'error') = 'error')`
	// fileOf is the file of an outcome; documents behind the first of a file are told apart by their number.
	fileOf = `regexp_replace(o ->> 'path', '#[0-9]+$', '')`
	// Only the outcomes of the rows that are told are read.
	sqlSummaries = `SELECT repository, commit, environment, ref, json_array_length(outcome) AS applications,
  (SELECT count(DISTINCT ` + fileOf + `) FROM json_array_elements(outcome) AS o WHERE ` + isInvalid + `) AS invalid, created_at
FROM (SELECT * FROM evaluations WHERE repository = $1 ORDER BY created_at DESC, ref, environment LIMIT $2) AS e ORDER BY created_at DESC, ref, environment`
	sqlInvalid = `SELECT e.repository, count(DISTINCT ` + fileOf + `) FROM unnest($1::text[], $2::text[]) AS n(repository, commit)
JOIN evaluations AS e USING (repository, commit), json_array_elements(e.outcome) AS o
WHERE left(e.ref, 1) <> '#' AND ` + isInvalid + ` GROUP BY e.repository`
)

// Summaries returns what became of the newest commits of a repository, the newest first.
func (r *Reconciler) Summaries(ctx context.Context, db postgres.Querier, repository string, limit int) ([]Summary, error) {
	list, err := postgres.Collect[Summary](db.Query(ctx, sqlSummaries, repository, limit))
	if err != nil {
		return nil, fmt.Errorf("read revisions: %w", err)
	}
	return list, nil
}

// Invalid counts the Score files that cannot be deployed in commits of branches, by repository. Repositories and commits
// belong together by their index.
func (r *Reconciler) Invalid(ctx context.Context, db postgres.Querier, repositories, commits []string) (map[string]int, error) {
	counts := map[string]int{}
	rows, err := db.Query(ctx, sqlInvalid, repositories, commits)
	if err != nil {
		return nil, fmt.Errorf("count invalid files: %w", err)
	}
	var name string
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&name, &count}, func() error { counts[name] = count; return nil }); err != nil {
		return nil, fmt.Errorf("count invalid files: %w", err)
	}
	return counts, nil
}
