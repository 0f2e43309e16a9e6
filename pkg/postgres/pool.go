package postgres

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/innominatus/reconciler/pkg/fault"
)

// Defaults of [Config].
const (
	// DefaultMaxConns leaves room for several replicas and for people under PostgreSQL's own default of 100.
	DefaultMaxConns = 16
	// DefaultConnectTimeout is long enough for one lost TCP segment (retransmitted after 1 and 3 s).
	DefaultConnectTimeout = 5 * time.Second
	// DefaultStatementTimeout stops a runaway statement; the statements of the rooms take milliseconds.
	DefaultStatementTimeout = 30 * time.Second
	// DefaultIdleInTransaction ends transactions that somebody forgot: one of them keeps vacuum from its work and
	// halves the throughput of the queue. Replicas take the lease of their jobs if that is shorter, so that a process that is
	// stopped inside a transaction keeps nobody from its jobs for longer.
	DefaultIdleInTransaction = 30 * time.Second
)

// oldest is the lowest server version that the statements are tested with, as server_version_num counts.
const oldest = 150000

// Config says how to reach the database.
type Config struct {
	// URL is a postgres:// URL or a key=value string as libpq reads it, with several hosts if there are several.
	URL string
	// ApplicationName is shown in pg_stat_activity; "" means "reconciler".
	ApplicationName string
	// MaxConns bounds the pool; 0 means [DefaultMaxConns].
	MaxConns int32
	// ConnectTimeout bounds each attempt to connect; 0 means [DefaultConnectTimeout].
	ConnectTimeout time.Duration
	// StatementTimeout ends each statement that takes longer; 0 means [DefaultStatementTimeout], below 0 no limit.
	StatementTimeout time.Duration
	// IdleInTransaction ends sessions that sit idle inside a transaction; 0 means [DefaultIdleInTransaction], below 0
	// no limit.
	IdleInTransaction time.Duration
	// PgBouncer is set when URL leads through a pooler in transaction mode. Statements are then not prepared, and the
	// two limits above are not sent (the pooler refuses them as start-up parameters): set them on the role with
	// ALTER ROLE … SET. LISTEN and migrations need a URL that leads to the server itself, see [Connection] and [Migrate].
	PgBouncer bool
}

// Open makes a pool and proves with one query that the server answers and is new enough. The caller closes the pool.
// Errors are faults: [fault.DatabaseURL], [fault.DatabaseUnreachable], [fault.DatabaseTooOld].
func Open(ctx context.Context, cfg Config) (*pgxpool.Pool, error) {
	pc, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fault.New(fault.DatabaseURL, "make a connection pool: %w", err)
	}
	if err := checkVersion(ctx, pool); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// Connection returns the settings of one connection outside of any pool, for [NewListener]. The error is a [fault.DatabaseURL].
func Connection(cfg Config) (*pgx.ConnConfig, error) {
	pc, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	return pc.ConnConfig, nil
}

// settings reads the URL, and puts the rest of the configuration over it.
func (c Config) settings() (*pgxpool.Config, error) {
	pc, err := pgxpool.ParseConfig(c.URL)
	if err != nil {
		// pgx masks the password in the text of this error.
		return nil, fault.New(fault.DatabaseURL, "read the database URL: %w", err)
	}
	pc.MaxConns = orDefault(c.MaxConns, DefaultMaxConns)
	cc := pc.ConnConfig
	cc.ConnectTimeout = orDefault(c.ConnectTimeout, DefaultConnectTimeout)
	params := cc.RuntimeParams
	params["application_name"] = orDefault(c.ApplicationName, "reconciler")
	if c.PgBouncer {
		// Unlike QueryExecModeExec, arguments have the types that the server wants of them, as in a pool without a pooler.
		cc.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		return pc, nil
	}
	setLimit(params, "statement_timeout", orDefault(c.StatementTimeout, DefaultStatementTimeout))
	setLimit(params, "idle_in_transaction_session_timeout", orDefault(c.IdleInTransaction, DefaultIdleInTransaction))
	return pc, nil
}

// setLimit writes a time limit in milliseconds. Below zero becomes 0, which is PostgreSQL's word for "no limit".
func setLimit(params map[string]string, name string, d time.Duration) {
	params[name] = strconv.FormatInt(max(0, d.Milliseconds()), 10)
}

func orDefault[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

func checkVersion(ctx context.Context, pool *pgxpool.Pool) error {
	var number string
	if err := pool.QueryRow(ctx, "SHOW server_version_num").Scan(&number); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("reach the database: %w", err)
		}
		cc := pool.Config().ConnConfig
		return fault.New(fault.DatabaseUnreachable, "reach database %q on %s port %d: %w", cc.Database, cc.Host, cc.Port, err)
	}
	version, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("read the server's version %q: %w", number, err)
	}
	if version < oldest {
		return fault.New(fault.DatabaseTooOld, "the server is PostgreSQL %d; %d is the oldest that works", version/10000, oldest/10000)
	}
	return nil
}
