package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/innominatus/reconciler/pkg/auth"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/secret"
	"github.com/innominatus/reconciler/pkg/server"
)

// withDatabase opens the database of a running or stopped server for one act.
func withDatabase(ctx context.Context, file string, act func(*pgxpool.Pool) error) error {
	cfg, err := loadConfig(file)
	if err != nil {
		return err
	}
	if cfg.Database.URL.value == "" {
		// The embedded server belongs to the process that runs it; while it does, we are its guest.
		url, running := postgres.Running(filepath.Join(cfg.Data, "postgres"))
		if running {
			cfg.Database.URL.value = url
		}
	}
	pool, embedded, err := database(ctx, cfg, zerolog.Nop())
	if err != nil {
		return err
	}
	err = act(pool)
	pool.Close()
	if embedded != nil {
		if stopErr := embedded.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}
	return err
}

func newToken() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Make, list and revoke tokens, on the server's machine", Args: noArguments, RunE: help, DisableFlagsInUseLine: true,
	}
	c.AddCommand(newTokenCreate(), newTokenList(), newTokenRevoke())
	return c
}

func newTokenCreate() *cobra.Command {
	var file string
	var scopes []string
	var days int
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a token and print its value, once", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var list []auth.Scope
			for _, s := range scopes {
				list = append(list, auth.Scope(s))
			}
			return withDatabase(c.Context(), file, func(pool *pgxpool.Pool) error {
				value, err := auth.CreateToken(c.Context(), pool, args[0], list, time.Duration(days)*24*time.Hour)
				if err != nil {
					return err
				}
				// Only the value goes to the standard output, where scripts take it from.
				say(c.ErrOrStderr(), "%s", tokenReach(args[0], scopes, days))
				_, err = fmt.Fprintln(c.OutOrStdout(), value)
				return err
			})
		},
	}
	configFlag(c, &file)
	c.Flags().StringSliceVar(&scopes, "scope", []string{"admin"}, "read, deploy or admin; each includes those before it")
	c.Flags().IntVar(&days, "days", 0, "days until it expires (default: never)")
	return c
}

// tokenReach says what a token may do and until when.
func tokenReach(name string, scopes []string, days int) string {
	until := "never expires"
	if days > 0 {
		until = fmt.Sprintf("expires in %d days", days)
	}
	return fmt.Sprintf("token %s: %s, %s", name, strings.Join(scopes, " and "), until)
}

func newTokenList() *cobra.Command {
	var file string
	var format outputFlag
	c := &cobra.Command{
		Use: "list", Short: "List tokens, without their values", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return withDatabase(c.Context(), file, func(pool *pgxpool.Pool) error {
				list, err := auth.Tokens(c.Context(), pool)
				if err != nil {
					return err
				}
				return write(c.OutOrStdout(), format, list, tokenRows)
			})
		},
	}
	configFlag(c, &file)
	format.register(c)
	return c
}

func tokenRows(list []auth.Token) [][]string {
	when := func(t *time.Time) string {
		if t == nil {
			return "-"
		}
		return t.UTC().Format(time.DateTime)
	}
	rows := [][]string{{"NAME", "SCOPES", "MADE", "EXPIRES", "LAST USED", "REVOKED"}}
	for _, t := range list {
		var scopes []string
		for _, s := range t.Scopes {
			scopes = append(scopes, string(s))
		}
		rows = append(rows, []string{t.Name, strings.Join(scopes, ","), when(&t.CreatedAt), when(t.ExpiresAt), when(t.UsedAt), when(t.RevokedAt)})
	}
	return rows
}

func newTokenRevoke() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "revoke NAME", Short: "End a token and its sessions", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return withDatabase(c.Context(), file, func(pool *pgxpool.Pool) error { return auth.RevokeToken(c.Context(), pool, args[0]) })
		},
	}
	configFlag(c, &file)
	return c
}

func newMigrate() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "migrate", Short: "Bring the database to the state that this version needs (serve does it too)", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return withDatabase(c.Context(), file, func(*pgxpool.Pool) error {
				_, err := fmt.Fprintln(c.OutOrStdout(), "the database is up to date")
				return err
			})
		},
	}
	configFlag(c, &file)
	return c
}

func newVersion() *cobra.Command {
	var flags clientFlags
	var remote bool
	c := &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			fmt.Fprintln(c.OutOrStdout(), "reconciler", version)
			if !remote {
				return nil
			}
			client, err := flags.client()
			if err != nil {
				return err
			}
			status, err := get[struct{ Version string }](c.Context(), client, "/status", nil)
			if err != nil {
				return err
			}
			say(c.OutOrStdout(), "server %s", status.Version)
			return nil
		},
	}
	c.Flags().BoolVar(&remote, "remote", false, "ask the server for its version, too")
	flags.register(c)
	return c
}

// finding is a line of the doctor.
type finding struct {
	what string
	err  error
	note string
}

func newDoctor() *cobra.Command {
	var file string
	var flags clientFlags
	c := &cobra.Command{
		Use: "doctor", Short: "Check the configuration, the database, the platform and the server, and say what to do", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			var faults fault.List
			for _, f := range diagnose(c.Context(), file, &flags) {
				if f.err == nil {
					say(c.OutOrStdout(), "ok    %s%s", f.what, f.note)
					continue
				}
				say(c.OutOrStdout(), "FAIL  %s", f.what)
				faults = append(faults, fault.Of(f.err)...)
			}
			return faults.Err()
		},
	}
	configFlag(c, &file)
	flags.register(c)
	return c
}

// diagnose looks at what a server needs, as far as it gets.
func diagnose(ctx context.Context, file string, flags *clientFlags) []finding {
	cfg, err := loadConfig(file)
	out := []finding{{"configuration", err, ""}}
	if err != nil {
		return out
	}
	_, err = exec.LookPath("git")
	out = append(out, finding{"git (only the demo needs it)", nil, map[bool]string{true: "", false: ": not found"}[err == nil]})
	if cfg.Platform.Directory != "" {
		files, err := readPlatform(cfg.Platform.Directory)
		var note string
		if err == nil {
			p, faults := platform.Load(files)
			err = faults.Err()
			if p != nil {
				note = fmt.Sprintf(": %d environments, %d provisioners", len(p.Environments), len(p.Provisioners))
			}
		}
		out = append(out, finding{"platform configuration", err, note})
	}
	out = append(out, diagnoseKey(cfg))
	out = append(out, diagnoseDatabase(ctx, cfg, file))
	client, err := flags.client()
	if err == nil {
		var response *http.Response
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, client.base+"/readyz", nil)
		if response, err = client.http.Do(request); err != nil {
			err = fault.New(fault.ServerAway, "no server answers at %s: %w", client.base, err)
		} else {
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = fault.New(fault.CheckFailed, "the server at %s is not ready", client.base).Do("Look at %s/readyz.", client.base)
			}
		}
	}
	out = append(out, finding{"server", err, ""})
	if err != nil {
		return out
	}
	return append(out, diagnosePlatform(ctx, client))
}

// diagnosePlatform asks a server whether it refused the newest version of its platform configuration.
func diagnosePlatform(ctx context.Context, client *client) finding {
	const what = "platform configuration of the server"
	if client.token == "" {
		return finding{what, nil, ": not asked for without a token"}
	}
	now, err := get[server.Status](ctx, client, "/status", nil)
	switch state := now.Platform; {
	case err != nil:
		return finding{what, err, ""}
	case state.Refused != nil:
		return finding{what + ": the newest version is refused", state.Refused.Faults, ""}
	case state.InForce == nil:
		return finding{what, fault.New(fault.PlatformMissing, "the server has no platform configuration yet"), ""}
	default:
		return finding{what, nil, ": in force since " + state.InForce.CreatedAt.UTC().Format(time.DateTime)}
	}
}

// fresh says that no server ever ran with the configuration's data folder: looking must not make anything.
func fresh(cfg *config) bool {
	_, err := os.Stat(filepath.Join(cfg.Data, "postgres"))
	return cfg.Database.URL.value == "" && os.IsNotExist(err)
}

func diagnoseKey(cfg *config) finding {
	_, err := secret.LoadKeyring(cfg.KeyFile, false)
	if err != nil && fresh(cfg) {
		return finding{"key file", nil, ": made by the first `reconciler serve`"}
	}
	if err != nil {
		err = fault.New(fault.CheckFailed, "%w", err).Do("Bring the key file back: without it, stored secrets cannot be read.")
	}
	return finding{"key file", err, ""}
}

func diagnoseDatabase(ctx context.Context, cfg *config, file string) finding {
	if fresh(cfg) {
		return finding{"database", nil, ": embedded, made by the first `reconciler serve`"}
	}
	return finding{"database", withDatabase(ctx, file, func(pool *pgxpool.Pool) error { return pool.Ping(ctx) }), ""}
}
