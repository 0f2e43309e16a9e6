package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rs/zerolog"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/gitrepo"
	"github.com/innominatus/reconciler/pkg/platform"
)

// platformWatcher looks for new versions of the platform configuration and offers them.
type platformWatcher struct {
	cfg     platformConfig
	git     *gitrepo.Client
	remote  gitrepo.Remote
	dir     string
	pool    *pgxpool.Pool
	store   *platform.Store
	changed func(context.Context, pgx.Tx) error
	log     zerolog.Logger

	// seen is what was offered last by this process: replicas with different folders must not take turns in changing the
	// configuration back and forth.
	seen string
	// told is what was logged last.
	told string
}

// run looks until the context ends.
func (w *platformWatcher) run(ctx context.Context) error {
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.Error().Err(err).Msg("platform configuration cannot be read")
		}
		if pause(ctx, w.cfg.Poll) != nil {
			return nil
		}
	}
}

const platformTimeout = 2 * time.Minute

func (w *platformWatcher) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	files, source, commit, err := w.read(ctx)
	if err != nil {
		return err
	}
	version := commit
	if version == "" {
		version = fmt.Sprint(files)
	}
	if version == w.seen {
		return nil
	}
	var changed bool
	var faults fault.List
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) (err error) {
		if changed, faults, err = w.store.Offer(ctx, tx, source, commit, files); err != nil || !changed {
			return err
		}
		return w.changed(ctx, tx)
	})
	if err != nil {
		return err
	}
	// What is refused may be taken later, when what stands against it is gone; it is told once.
	if faults.Err() == nil {
		w.seen = version
	}
	told := fmt.Sprint(version, faults)
	if told == w.told {
		return nil
	}
	w.told = told
	for _, f := range faults {
		w.log.Error().Str("code", string(f.Code)).Str("place", f.Place.String()).Str("severity", f.Severity.String()).Msg("platform configuration: " + f.Message)
	}
	if changed {
		w.log.Info().Str("source", source).Str("commit", commit).Msg("platform configuration in force")
	}
	return nil
}

// read returns the files of the configuration; without any source, those that suit a first try.
func (w *platformWatcher) read(ctx context.Context) (files platform.Files, source, commit string, err error) {
	switch {
	case w.cfg.Directory != "":
		files, err = readPlatform(w.cfg.Directory)
		return files, w.cfg.Directory, "", err
	case w.cfg.Repository != "":
		return w.fetch(ctx)
	default:
		return builtInPlatform(), "built in", "", nil
	}
}

// readPlatform reads the files of a platform configuration from a folder. Errors name the whole path.
func readPlatform(folder string) (platform.Files, error) {
	files, err := platform.Read(os.DirFS(folder))
	if inside, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fault.New(fault.ConfigUnreadable, "%s %s: %w", inside.Op, filepath.Join(folder, inside.Path), inside.Err)
	}
	return files, err
}

// builtInPlatform is the configuration where nobody gives one.
func builtInPlatform() platform.Files {
	return platform.Files{"environments/local.yaml": "target:\n  directory:\n    path: local\n"}
}

func (w *platformWatcher) fetch(ctx context.Context) (platform.Files, string, string, error) {
	ref := "refs/heads/" + w.cfg.Branch
	refs, err := w.git.ListRefs(ctx, w.remote, ref)
	if err != nil {
		return nil, "", "", err
	}
	commit, ok := refs.Commits[ref]
	if !ok {
		return nil, "", "", fault.New(fault.BranchGone, "the platform's repository has no branch %s", w.cfg.Branch)
	}
	mirror, _, err := w.git.OpenMirror(filepath.Join(w.dir, "mirror"), w.remote)
	if err != nil {
		return nil, "", "", err
	}
	if err := mirror.Fetch(ctx, gitrepo.Want{Commit: commit, Ref: ref}); err != nil {
		return nil, "", "", err
	}
	tree, err := mirror.Tree(ctx, commit)
	if err != nil {
		return nil, "", "", err
	}
	prefix := ""
	if w.cfg.Path != "" {
		prefix = strings.Trim(path.Clean(w.cfg.Path), "/") + "/"
	}
	paths, err := tree.Paths(func(p string) bool {
		return strings.HasPrefix(p, prefix) && (strings.HasSuffix(p, ".yaml") || strings.HasSuffix(p, ".yml")) && !strings.Contains("/"+p, "/.")
	})
	if err != nil {
		return nil, "", "", err
	}
	files := platform.Files{}
	for _, p := range paths {
		content, _, err := tree.Read(p)
		if err != nil {
			return nil, "", "", err
		}
		files[strings.TrimPrefix(p, prefix)] = string(content)
	}
	return files, w.cfg.Repository, string(commit), nil
}
