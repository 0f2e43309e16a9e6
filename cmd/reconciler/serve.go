package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/oklog/run"
	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/queue"
	"github.com/innominatus/reconciler/pkg/telemetry"
)

func configFlag(c *cobra.Command, into *string) {
	c.Flags().StringVarP(into, "config", "c", "", "configuration file (default: none, everything as it is by default)")
	_ = c.MarkFlagFilename("config", "yaml", "yml") // the flag exists
}

func newServe() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "serve", Short: "Run the server: watch, plan, apply, report", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			return serve(c.Context(), cfg)
		},
	}
	configFlag(c, &file)
	return c
}

const (
	// headerTimeout bounds how long a client may take for its headers, requestLimit for a whole request: more than the
	// longest plan of a working copy takes.
	headerTimeout = 10 * time.Second
	requestLimit  = 90 * time.Second
	// housekeeping is the kind of the job that forgets what is old and looks for what was missed, and its period.
	housekeeping       = "housekeeping"
	housekeepingPeriod = time.Minute
	// pruning is the kind of the job that forgets what ended longer ago than the configuration says.
	pruning        = "prune"
	pruningPeriod  = time.Hour
	defaultHistory = 90 * 24 * time.Hour
	// newestKept is how many runs and releases of an application stay however old they are.
	newestKept = 50
)

// serve runs the server until the context ends.
func serve(ctx context.Context, cfg *config) error {
	a, err := newApp(ctx, cfg)
	if err != nil {
		return err
	}
	defer a.close()
	flush, err := telemetry.Traces(ctx, cfg.Telemetry.Traces, version, cfg.Instance)
	if err != nil {
		return err
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := flush(ending); err != nil {
			a.log.Warn().Err(err).Msg("last traces not sent")
		}
	}()
	if err := a.start(ctx); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", cfg.Server.Listen)
	if err != nil {
		return fault.New(fault.ConfigValue, "listen on %s: %w", cfg.Server.Listen, err)
	}
	var group run.Group
	actor := func(work func(context.Context) error) {
		ctx, cancel := context.WithCancel(ctx)
		group.Add(func() error { return work(ctx) }, func(error) { cancel() })
	}
	actor(func(ctx context.Context) error { <-ctx.Done(); return nil })
	actor(a.queue.Run)
	actor(a.platform.run)
	serveHTTP(&group, listener, a.server.Handler())
	if cfg.Telemetry.Debug != "" {
		debug, err := net.Listen("tcp", cfg.Telemetry.Debug)
		if err != nil {
			return fault.New(fault.ConfigValue, "listen on %s: %w", cfg.Telemetry.Debug, err)
		}
		serveHTTP(&group, debug, telemetry.Debug())
	}
	if a.embedded != nil {
		actor(func(ctx context.Context) error {
			select {
			case <-a.embedded.Done():
				return fault.New(fault.PostgresStart, "the embedded postgres ended by itself")
			case <-ctx.Done():
				return nil
			}
		})
	}
	a.log.Info().Str("address", listener.Addr().String()).Str("url", cfg.Server.URL).Str("version", version).Msg("reconciler serves")
	err = group.Run()
	a.log.Info().Msg("reconciler stops")
	return err
}

// serveHTTP adds an HTTP server to the group; when it is stopped, requests that run may end.
func serveHTTP(group *run.Group, listener net.Listener, handler http.Handler) {
	s := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: requestLimit, WriteTimeout: requestLimit, IdleTimeout: 2 * time.Minute}
	group.Add(func() error {
		if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, func(error) {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			_ = s.Close() // requests that still run are cut off
		}
	})
}

// keepHouse forgets what is old and looks for what was missed.
func (a *app) keepHouse(ctx context.Context, _ *queue.Job) error {
	return errors.Join(a.watcher.Sweep(ctx), a.webhooks.Sweep(ctx))
}

// prune forgets old history.
func (a *app) prune(ctx context.Context, _ *queue.Job) error {
	return a.reconciler.Prune(ctx, cmp.Or(a.cfg.History, defaultHistory), newestKept)
}
