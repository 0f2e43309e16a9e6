package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"

	"github.com/innominatus/reconciler/pkg/apply"
	"github.com/innominatus/reconciler/pkg/apply/directory"
	"github.com/innominatus/reconciler/pkg/apply/gitops"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/forge"
	"github.com/innominatus/reconciler/pkg/forge/gitea"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/gitwatch"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/reconcile"
	"github.com/innominatus/reconciler/pkg/registry"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/server"
	"github.com/innominatus/reconciler/pkg/status"
	"github.com/innominatus/reconciler/pkg/telemetry"
	"github.com/innominatus/reconciler/webhooks"
)

// app is a wired server.
type app struct {
	cfg        *config
	log        zerolog.Logger
	pool       *pgxpool.Pool
	listen     *pgx.ConnConfig // Past PgBouncer; nil where the pool's own settings do.
	embedded   *postgres.Embedded
	queue      *queue.Queue
	watcher    *gitwatch.Watcher
	reconciler *reconcile.Reconciler
	platform   *platformWatcher
	server     *server.Server
	webhooks   *webhooks.Receiver
}

// database opens the database of the configuration, and starts the server of our own if it names none. It is migrated.
func database(ctx context.Context, cfg *config, log zerolog.Logger) (pool *pgxpool.Pool, embedded *postgres.Embedded, err error) {
	url := cfg.Database.URL.value
	if url == "" {
		log.Info().Str("directory", filepath.Join(cfg.Data, "postgres")).Msg("starting the embedded postgres")
		embedded, err = postgres.StartEmbedded(ctx, postgres.EmbeddedConfig{
			DataDir: filepath.Join(cfg.Data, "postgres"), BinDir: cfg.Database.Binaries,
			Log: func(line string) { log.Debug().Str("line", line).Msg("postgres") },
		})
		if err != nil {
			return nil, nil, err
		}
		url = embedded.URL()
	}
	from, to, err := postgres.Migrate(ctx, cmp.Or(cfg.Database.Direct.value, url))
	if err == nil {
		if from != to {
			log.Info().Int64("from", from).Int64("to", to).Msg("database migrated")
		}
		pool, err = postgres.Open(ctx, postgres.Config{
			URL: url, ApplicationName: cfg.clientName(), MaxConns: int32(cfg.Database.MaxConnections), PgBouncer: cfg.Database.PgBouncer,
			IdleInTransaction: min(cfg.Queue.Lease, postgres.DefaultIdleInTransaction),
		})
	}
	if err != nil && embedded != nil {
		err = errors.Join(err, embedded.Stop(context.WithoutCancel(ctx)))
	}
	return pool, embedded, err
}

// listening returns the settings of the connection that listens past PgBouncer, or nil where there is none.
func listening(cfg *config) (*pgx.ConnConfig, error) {
	if !cfg.Database.PgBouncer {
		return nil, nil
	}
	return postgres.Connection(postgres.Config{URL: cfg.Database.Direct.value, ApplicationName: cfg.clientName()})
}

// clientName is what pg_stat_activity shows of our connections.
func (c *config) clientName() string { return "reconciler " + c.Instance }

// newApp wires the rooms. close gives everything back.
func newApp(ctx context.Context, cfg *config) (a *app, err error) {
	redactor := &secret.Redactor{}
	for _, f := range cfg.Forges {
		redactor.Add(f.Token.value, f.WebhookSecret.value)
	}
	redactor.Add(slices.Collect(maps.Values(cfg.secretValues()))...)
	a = &app{cfg: cfg}
	if a.log, err = telemetry.Logger(redactor.Writer(os.Stderr), cfg.Log.Format, cfg.Log.Level); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Data, 0o755); err != nil {
		return nil, fault.New(fault.FileUnreadable, "data folder: %w", err)
	}
	keys, err := secret.LoadKeyring(cfg.KeyFile, true)
	if err != nil {
		return nil, fault.New(fault.FileUnreadable, "%w", err)
	}
	if a.listen, err = listening(cfg); err != nil {
		return nil, err
	}
	if a.pool, a.embedded, err = database(ctx, cfg, a.log); err != nil {
		return nil, err
	}
	if err := a.sameKey(ctx, keys); err != nil {
		a.close()
		return nil, err
	}
	a.wire(keys, redactor)
	return a, nil
}

// sameKey refuses a key file that is not the one that the database was written with: what is sealed could not be opened,
// and generated values would be others.
func (a *app) sameKey(ctx context.Context, keys *secret.Keyring) error {
	mark := keys.Fingerprint("installation")
	stored, err := postgres.Mark(ctx, a.pool, mark)
	if err == nil && stored != mark {
		err = fault.New(fault.KeyOther, "the key file %s is not the one of this database", a.cfg.KeyFile)
	}
	return err
}

// stopTimeout bounds what is done after the last request.
const stopTimeout = 15 * time.Second

func (a *app) close() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if a.pool != nil {
		a.pool.Close()
	}
	if a.embedded != nil {
		if err := a.embedded.Stop(ctx); err != nil {
			a.log.Error().Err(err).Msg("embedded postgres did not stop")
		}
	}
}

// forges returns the clients of the configured forges that have an API.
func (a *app) forges() map[string]forge.Forge {
	out := map[string]forge.Forge{}
	for name, f := range a.cfg.Forges {
		if f.Kind == "gitea" {
			out[name] = gitea.New(f.URL, f.Token.value)
		} else {
			out[name] = nil
		}
	}
	return out
}

// wire makes the rooms and joins them.
func (a *app) wire(keys *secret.Keyring, redactor *secret.Redactor) {
	cfg, tracer := a.cfg, otel.Tracer("reconciler")
	forges := a.forges()
	forgeOf := func(name string) (forge.Forge, error) {
		f, known := forges[name]
		if !known && name != "" {
			return nil, cfg.unknownForge(name)
		}
		return f, nil
	}
	git := gitrepo.NewClient(gitrepo.ClientConfig{DenyPrivate: cfg.Git.DenyPrivate})
	source := &gitwatch.Source{
		Client: git, Dir: filepath.Join(cfg.Data, "mirrors"), Log: a.log,
		Remote: func(r gitwatch.Repository) gitrepo.Remote { return cfg.remote(r.URL, r.Forge) },
	}
	a.queue = queue.New(a.pool, queue.Config{
		Workers: cfg.Queue.Workers, PerRepository: cfg.Queue.PerRepository, PerOwner: cfg.Queue.PerOwner,
		Lease: cfg.Queue.Lease, Heartbeat: cfg.Queue.Lease / 3, Listen: a.listen, Log: a.log, Redact: redactor.Redact,
	})
	plans, runs, versions := &planner.Store{Keys: keys}, &apply.Store{Keys: keys}, &platform.Store{}
	r := &reconcile.Reconciler{
		Pool: a.pool, Queue: a.queue, Source: reconcileSource{source, cfg}, Planner: plans, Platform: versions, Runs: runs, Keys: keys, Redactor: redactor,
		Instance: cfg.Instance, URL: cfg.Server.URL, Tracer: tracer, Log: a.log,
	}
	versions.Check = r.CheckPlatform
	r.Outbox = &status.Outbox{
		Pool: a.pool, Queue: a.queue, Redact: redactor.Redact, Marker: r.Marker, Log: a.log,
		Forge: func(ctx context.Context, repository string) (forge.Forge, string, error) {
			repo, err := gitwatch.Get(ctx, a.pool, repository)
			if err != nil {
				return nil, "", err
			}
			f, err := forgeOf(repo.Forge)
			return f, repo.Name, err
		},
	}
	r.Runner = &apply.Runner{
		Pool: a.pool, Queue: a.queue, Runs: runs, Planner: plans, Changed: r.RunChanged, Redactor: redactor, Tracer: tracer, Log: a.log,
		Platform:  func(ctx context.Context) (*platform.Platform, error) { return versions.Current(ctx, a.pool) },
		Images:    &registry.Client{},
		Secrets:   cfg.secretValues(),
		Directory: &directory.Target{Data: cfg.Data},
		GitOps: forgeTarget{&gitops.Target{
			Client: git, Dir: filepath.Join(cfg.Data, "deployments"), Data: cfg.Data,
			Remote: func(t *platform.GitOpsTarget) gitrepo.Remote { return cfg.remote(t.Repository, t.Forge) },
		}, cfg},
	}
	a.reconciler = r
	a.watcher = &gitwatch.Watcher{
		Pool: a.pool, Queue: a.queue, Sink: r, ListRefs: reconcileSource{source, cfg}.ListRefs, Forge: forgeOf, DefaultPaths: reconcile.DefaultPaths, Tracer: tracer, Log: a.log,
	}
	a.platform = &platformWatcher{cfg: cfg.Platform, git: git, remote: cfg.remote(cfg.Platform.Repository, cfg.Platform.Forge),
		dir: filepath.Join(cfg.Data, "platform"), pool: a.pool, store: versions, changed: r.PlatformChanged, log: a.log}
	a.webhooks = &webhooks.Receiver{
		Pool: a.pool, Hooks: a.hooks(), Fail: server.Fail, Tracer: tracer, Log: a.log,
		Hint: func(ctx context.Context, tx pgx.Tx, forgeName, repository string) error {
			if ours, err := watched(ctx, tx, forgeName, repository); err != nil || !ours {
				return err
			}
			return a.watcher.Hint(ctx, tx, repository)
		},
		Replan: func(ctx context.Context, tx pgx.Tx, forgeName, repository string, pull int64) error {
			if ours, err := watched(ctx, tx, forgeName, repository); err != nil || !ours {
				return err
			}
			return r.Replan(ctx, tx, repository, pull)
		},
	}
	a.handlers(r)
	a.serve(plans, runs, versions)
}

// watched says whether a forge's repository is one of ours.
func watched(ctx context.Context, tx pgx.Tx, forgeName, repository string) (bool, error) {
	repo, err := gitwatch.Get(ctx, tx, repository)
	if f, ok := fault.As(err); ok && f.Code == fault.RepositoryUnknown {
		return false, nil
	}
	return repo.Forge == forgeName && repo.RemovedAt == nil, err
}

func (a *app) hooks() map[string]webhooks.Hook {
	hooks := map[string]webhooks.Hook{}
	for name, f := range a.cfg.Forges {
		if f.WebhookSecret.value != "" {
			hooks[name] = webhooks.Hook{Kind: f.Kind, Secret: []byte(f.WebhookSecret.value)}
		}
	}
	return hooks
}

func (a *app) handlers(r *reconcile.Reconciler) {
	for kind, h := range r.Handlers() {
		a.queue.Handle(kind, h)
	}
	a.queue.Handle(gitwatch.JobKind, a.watcher.Handler())
	a.queue.Handle(apply.JobKind, r.Runner.Handler())
	a.queue.Handle(apply.UndoKind, r.Runner.UndoHandler())
	a.queue.Handle(apply.TogetherKind, r.Runner.TogetherHandler())
	a.queue.Handle(status.JobKind, r.Outbox.Handler())
	a.queue.Handle(housekeeping, queue.Handler{Work: a.keepHouse})
	a.queue.Every(housekeeping, housekeepingPeriod)
	a.queue.Handle(pruning, queue.Handler{Work: a.prune})
	a.queue.Every(pruning, pruningPeriod)
}

// serve makes the HTTP side with its metrics and checks.
func (a *app) serve(plans *planner.Store, runs *apply.Store, versions *platform.Store) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, list := range [][]prometheus.Collector{
		a.queue.Collectors(), a.watcher.Collectors(), a.webhooks.Collectors(), a.reconciler.Outbox.Collectors(), a.reconciler.Runner.Collectors(),
	} {
		metrics.MustRegister(list...)
	}
	a.server = &server.Server{
		Pool: a.pool, Queue: a.queue, Planner: plans, Platform: versions, Runs: runs, Watcher: a.watcher, Reconciler: a.reconciler,
		Outbox: a.reconciler.Outbox, Webhooks: a.webhooks, Metrics: metrics, Version: version, OnForge: a.cfg.onForge, Log: a.log,
		Secure: len(a.cfg.Server.URL) > 8 && a.cfg.Server.URL[:8] == "https://",
		Checks: map[string]func(context.Context) error{
			"postgres": func(ctx context.Context) error { return a.pool.Ping(ctx) },
			"platform": func(ctx context.Context) error { _, err := versions.Current(ctx, a.pool); return err },
			"queue":    func(ctx context.Context) error { _, err := a.queue.Stats(ctx); return err },
		},
	}
}

// start makes the configuration's repositories those that are watched.
func (a *app) start(ctx context.Context) error {
	var list []gitwatch.Repository
	for _, r := range a.cfg.Repositories {
		repo := gitwatch.Repository{
			Name: r.Name, URL: r.URL, Forge: r.Forge, Branches: r.Branches, Paths: r.Paths, PollSeconds: int(r.Poll / time.Second), Origin: gitwatch.Configuration,
		}
		if err := a.watcher.Check(&repo); err != nil {
			return err
		}
		list = append(list, repo)
	}
	err := pgx.BeginFunc(ctx, a.pool, func(tx pgx.Tx) error { return a.watcher.Configure(ctx, tx, list) })
	if err != nil {
		return fmt.Errorf("store configured repositories: %w", err)
	}
	return nil
}
