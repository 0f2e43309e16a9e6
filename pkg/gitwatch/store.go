package gitwatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// Repository is a repository that is watched.
type Repository struct {
	// Name is OWNER/NAME on the forge.
	Name string
	URL  string
	// Forge is the name of the configured forge, "" for a plain remote.
	Forge string
	// Branches says which environments follow which branch.
	Branches map[string][]string
	// Paths are patterns (doublestar) of Score files.
	Paths        []string
	PollSeconds  int
	Origin       Origin
	RemovedAt    *time.Time
	PolledAt     *time.Time
	Fault        *fault.Fault
	FailingSince *time.Time
}

// Poll is how often the repository is looked at.
func (r Repository) Poll() time.Duration { return time.Duration(r.PollSeconds) * time.Second }

// Environments returns the environments of the repository, sorted.
func (r Repository) Environments() []string {
	all := map[string]bool{}
	for _, list := range r.Branches {
		for _, e := range list {
			all[e] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// Origin says who added a repository.
type Origin string

// The origins of repositories.
const (
	Configuration Origin = "configuration"
	API           Origin = "api"
)

// Ref is a branch as it was seen last.
type Ref struct {
	Repository string
	Name       string
	// Commit is nil when the branch is gone.
	Commit     *string
	Generation int64
	MovedAt    time.Time
}

// Pull is a pull request as it was seen last.
type Pull struct {
	Repository  string
	Number      int64
	State       forge.PullState
	Title       string
	Author      string
	HeadRef     string
	HeadCommit  string
	BaseRef     string
	BaseCommit  string
	Fork        bool
	MergeCommit string
	Generation  int64
	SeenAt      time.Time
}

const (
	repositoryColumns = `name, url, forge, branches, paths, poll_seconds, origin, removed_at, polled_at, fault, failing_since`
	sqlRepositories   = `SELECT ` + repositoryColumns + ` FROM repositories WHERE removed_at IS NULL ORDER BY name`
	sqlRepository     = `SELECT ` + repositoryColumns + ` FROM repositories WHERE name = $1`
	// What the configuration holds gives way only to the configuration: it would come back with the next start.
	sqlPutRepository = `INSERT INTO repositories AS r (name, url, forge, branches, paths, poll_seconds, origin) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO UPDATE SET url = $2, forge = $3, branches = $4, paths = $5, poll_seconds = $6, origin = $7, removed_at = NULL
WHERE (r.url, r.forge, r.branches, r.paths, r.poll_seconds, r.origin, r.removed_at) IS DISTINCT FROM ($2, $3, $4::jsonb, $5::text[], $6::integer, $7, NULL::timestamptz)
  AND (excluded.origin = 'configuration' OR r.origin <> 'configuration' OR r.removed_at IS NOT NULL)`
	sqlDropRepository = `UPDATE repositories SET removed_at = now() WHERE name = $1 AND removed_at IS NULL AND origin = $2`
	sqlLooked         = `UPDATE repositories SET polled_at = now(), fault = $2,
failing_since = CASE WHEN $2::jsonb IS NULL THEN NULL ELSE coalesce(failing_since, now()) END WHERE name = $1`

	refColumns = `repository, name, commit, generation, moved_at`
	sqlRefs    = `SELECT ` + refColumns + ` FROM refs WHERE repository = $1 ORDER BY name`
	sqlRef     = `SELECT ` + refColumns + ` FROM refs WHERE repository = $1 AND name = $2`
	// The generation grows with every move, so that the newest can be told from all before it.
	sqlMoveRef = `INSERT INTO refs (repository, name, commit) VALUES ($1, $2, nullif($3, ''))
ON CONFLICT (repository, name) DO UPDATE SET commit = nullif($3, ''), generation = refs.generation + 1, moved_at = now()
WHERE refs.commit IS DISTINCT FROM nullif($3, '') RETURNING generation`
	sqlTouchRef = `UPDATE refs SET generation = generation + 1 WHERE repository = $1 AND name = $2 RETURNING generation`

	pullColumns = `repository, number, state, title, author, head_ref, head_commit, base_ref, base_commit, fork, merge_commit, generation, seen_at`
	sqlPulls    = `SELECT ` + pullColumns + ` FROM pulls WHERE repository = $1 AND ($2 = '' OR state = $2) ORDER BY number`
	sqlPull     = `SELECT ` + pullColumns + ` FROM pulls WHERE repository = $1 AND number = $2`
	sqlMerged   = `SELECT ` + pullColumns + ` FROM pulls WHERE repository = $1 AND merge_commit = $2 ORDER BY number LIMIT 1`
	// Base commit and everything that decides the plan make a new generation; the title does not.
	sqlSeePull = `INSERT INTO pulls AS p (repository, number, state, title, author, head_ref, head_commit, base_ref, base_commit, fork, merge_commit)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (repository, number) DO UPDATE SET state = $3, title = $4, author = $5, head_ref = $6, head_commit = $7, base_ref = $8,
  base_commit = $9, fork = $10, merge_commit = $11, generation = p.generation + 1, seen_at = now()
WHERE (p.state, p.head_commit, p.base_ref, p.base_commit, p.merge_commit) IS DISTINCT FROM ($3, $7, $8, $9, $11) RETURNING generation`
	sqlTouchPull = `UPDATE pulls SET generation = generation + 1 WHERE repository = $1 AND number = $2 RETURNING generation`
)

// Repositories returns all that are watched, by name.
func Repositories(ctx context.Context, db postgres.Querier) ([]Repository, error) {
	list, err := postgres.Collect[Repository](db.Query(ctx, sqlRepositories))
	return list, fault.While("read repositories", err)
}

// Get returns a repository, also one that is not watched any more, or a fault.
func Get(ctx context.Context, db postgres.Querier, name string) (Repository, error) {
	list, err := postgres.Collect[Repository](db.Query(ctx, sqlRepository, name))
	if err != nil {
		return Repository{}, fmt.Errorf("read repository: %w", err)
	}
	if len(list) == 0 {
		return Repository{}, fault.New(fault.RepositoryUnknown, "repository %q is not watched", name)
	}
	return list[0], nil
}

// put stores a repository and says whether something changed.
func put(ctx context.Context, tx pgx.Tx, r Repository) (bool, error) {
	branches, err := json.Marshal(r.Branches)
	if err != nil {
		return false, fmt.Errorf("write branches: %w", err)
	}
	tag, err := tx.Exec(ctx, sqlPutRepository, r.Name, r.URL, r.Forge, branches, r.Paths, r.PollSeconds, r.Origin)
	if err != nil || tag.RowsAffected() > 0 {
		return err == nil, fault.While("store repository "+r.Name, err)
	}
	stored, err := Get(ctx, tx, r.Name)
	if err == nil && stored.Origin != r.Origin {
		err = configured(r.Name)
	}
	return false, err
}

// drop stops watching a repository that has an origin.
func drop(ctx context.Context, tx pgx.Tx, name string, origin Origin) error {
	tag, err := tx.Exec(ctx, sqlDropRepository, name, origin)
	if err != nil || tag.RowsAffected() > 0 {
		return fault.While("drop repository", err)
	}
	stored, err := Get(ctx, tx, name)
	switch {
	case err != nil:
		return err
	case stored.RemovedAt != nil:
		return fault.New(fault.RepositoryUnknown, "repository %q is not watched", name)
	default:
		return configured(name)
	}
}

func configured(name string) error {
	return fault.New(fault.RepositoryConfigured, "repository %s stands in the server's configuration, which alone changes it", name)
}

// Refs returns the branches of a repository that are followed.
func Refs(ctx context.Context, db postgres.Querier, repository string) ([]Ref, error) {
	list, err := postgres.Collect[Ref](db.Query(ctx, sqlRefs, repository))
	return list, fault.While("read refs", err)
}

// GetRef returns a branch as it was seen last; found is false if it never was.
func GetRef(ctx context.Context, db postgres.Querier, repository, name string) (ref Ref, found bool, err error) {
	list, err := postgres.Collect[Ref](db.Query(ctx, sqlRef, repository, name))
	if err != nil || len(list) == 0 {
		return Ref{}, false, fault.While("read ref", err)
	}
	return list[0], true, nil
}

// Pulls returns the pull requests of a repository in a state ("" for all).
func Pulls(ctx context.Context, db postgres.Querier, repository string, state forge.PullState) ([]Pull, error) {
	list, err := postgres.Collect[Pull](db.Query(ctx, sqlPulls, repository, state))
	return list, fault.While("read pull requests", err)
}

// GetPull returns a pull request as it was seen last.
func GetPull(ctx context.Context, db postgres.Querier, repository string, number int64) (Pull, bool, error) {
	return onePull(db.Query(ctx, sqlPull, repository, number))
}

// MergedBy returns the pull request whose merge made a commit.
func MergedBy(ctx context.Context, db postgres.Querier, repository, commit string) (Pull, bool, error) {
	return onePull(db.Query(ctx, sqlMerged, repository, commit))
}

func onePull(rows pgx.Rows, err error) (Pull, bool, error) {
	list, err := postgres.Collect[Pull](rows, err)
	if err != nil || len(list) == 0 {
		return Pull{}, false, fault.While("read pull request", err)
	}
	return list[0], true, nil
}

// moved runs a statement that returns a generation if something moved.
func moved(row pgx.Row) (generation int64, ok bool, err error) {
	err = row.Scan(&generation)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, false, nil
	}
	return generation, err == nil, err
}

const (
	// defaultPoll is how often a repository is looked at, in seconds, where nobody says otherwise.
	defaultPoll = 60
	// shortestPoll keeps a mistake from asking a forge without a pause, in seconds.
	shortestPoll = 1
)

// Check fills what a repository leaves open and refuses what is not possible.
func (w *Watcher) Check(r *Repository) error {
	bad := func(format string, args ...any) error { return fault.New(fault.RepositoryInvalid, format, args...) }
	u, err := url.Parse(r.URL)
	switch {
	case strings.Count(r.Name, "/") != 1 || strings.HasPrefix(r.Name, "/") || strings.HasSuffix(r.Name, "/"):
		return bad("the name %q must be OWNER/NAME", r.Name)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		// Not shown: what cannot be read may hold credentials.
		return bad("the URL of %s must begin with https:// or http:// and name a host", r.Name)
	case u.User != nil:
		return bad("the URL of %s must not hold credentials", r.Name)
	case len(r.Branches) == 0:
		return bad("repository %s follows no branch", r.Name)
	}
	for branch, environments := range r.Branches {
		if branch == "" || len(environments) == 0 {
			return bad("branch %q of %s needs a name and at least one environment", branch, r.Name)
		}
	}
	if len(r.Paths) == 0 {
		r.Paths = w.DefaultPaths
	}
	for _, pattern := range r.Paths {
		if !doublestar.ValidatePattern(pattern) {
			return bad("%q of %s is not a pattern of paths", pattern, r.Name)
		}
	}
	r.PollSeconds = max(cmp.Or(r.PollSeconds, defaultPoll), shortestPoll)
	_, err = w.Forge(r.Forge)
	return err
}
