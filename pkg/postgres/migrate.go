package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/innominatus/reconciler/pkg/fault"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

const (
	// lockWaitSeconds is how often a replica looks whether another one has finished migrating.
	lockWaitSeconds = 1
	// lockWaits times lockWaitSeconds is how long a replica waits for another one: longer than any migration should take.
	lockWaits = 600
)

// Migrate brings the schema of the database at url to the version of this binary and returns the versions before and
// after. Several processes may call it at once: one works, the others wait. Each file is one transaction, so that a
// failed one leaves the version before it.
//
// A database that a newer binary has migrated is left as it is while its floor allows that: what newer migrations only add
// does not disturb an older binary, so that both run during an upgrade. Else it is refused with [fault.DatabaseNewer]. The URL
// must lead to the server itself, not through PgBouncer.
func Migrate(ctx context.Context, url string) (from, to int64, err error) {
	files, err := fs.Sub(migrationFiles, "migrations")
	if err != nil {
		return 0, 0, fmt.Errorf("open the embedded migrations: %w", err)
	}
	return migrate(ctx, url, files)
}

func migrate(ctx context.Context, url string, files fs.FS) (from, to int64, err error) {
	cc, err := pgx.ParseConfig(url)
	if err != nil {
		return 0, 0, fault.New(fault.DatabaseURL, "read the database URL: %w", err)
	}
	// A migration may take as long as it needs; the roles' own limits must not end it half way.
	cc.RuntimeParams["statement_timeout"] = "0"
	cc.RuntimeParams["application_name"] = "reconciler migrate"
	db := stdlib.OpenDB(*cc)
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.PingContext(ctx); err != nil {
		return 0, 0, fault.New(fault.DatabaseUnreachable, "reach database %q on %s port %d: %w", cc.Database, cc.Host, cc.Port, err)
	}

	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(lockWaitSeconds, lockWaits))
	if err != nil {
		return 0, 0, fmt.Errorf("make the migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return 0, 0, fmt.Errorf("read the migrations: %w", err)
	}
	from, known, err := provider.GetVersions(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read the schema's version: %w", err)
	}
	if from > known {
		return from, from, allowed(ctx, db, from, known)
	}
	if err := up(ctx, provider); err != nil {
		return from, from, fault.New(fault.DatabaseMigration, "migrate the schema from version %d to %d: %w", from, known, err)
	}
	// Looked at again, because a newer binary may have migrated while this one waited for the lock.
	if to, err = provider.GetDBVersion(ctx); err != nil {
		return from, from, fmt.Errorf("read the schema's version: %w", err)
	}
	if to > known {
		return from, to, allowed(ctx, db, to, known)
	}
	return from, to, nil
}

// up applies what is missing. Processes of the version before go on meanwhile: a file that waits for a transaction of theirs which
// waits for it is begun again.
func up(ctx context.Context, provider *goose.Provider) (err error) {
	for range deadlocks {
		if _, err = provider.Up(ctx); !deadlocked(err) {
			break
		}
	}
	return err
}

// allowed says whether a binary may work with a database that knows more than it does.
func allowed(ctx context.Context, db *sql.DB, database, known int64) error {
	var floor int64
	if err := db.QueryRowContext(ctx, `SELECT floor FROM schema_floor`).Scan(&floor); err != nil {
		return fmt.Errorf("read the schema's floor: %w", err)
	}
	if floor <= known {
		return nil
	}
	return fault.New(fault.DatabaseNewer, "the database's schema has version %d; this binary knows versions up to %d", database, known)
}

// MigrationsDigest returns a short hash over the names and contents of all migrations: the name for a template database
// that tests clone.
func MigrationsDigest() (string, error) {
	h := fnv.New64a()
	err := fs.WalkDir(migrationFiles, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := migrationFiles.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\x00%d\x00%s", path, len(content), content)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("read the embedded migrations: %w", err)
	}
	return fmt.Sprintf("%016x", h.Sum64()), nil
}
