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

	// seen is the digest of what was offered last by this process: replicas with different folders or branches must not take
	// turns in changing the configuration back and forth.
	seen string
	// replaced is the digest of what the last look found to be replaced by another commit, "" for nothing.
	replaced string
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

// platformTimeout bounds a look with all its tries: a clone of a large repository over a slow line.
const platformTimeout = 2 * time.Minute

// look reads and offers once, and again at once whenever another replica has offered something else meanwhile.
func (w *platformWatcher) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, platformTimeout)
	defer cancel()
	for {
		c, err := w.read(ctx)
		if err == nil {
			err = w.offer(ctx, c)
		}
		if !errors.Is(err, platform.ErrOvertaken) {
			return err
		}
	}
}

// read reads the configuration as it is now.
func (w *platformWatcher) read(ctx context.Context) (platform.Candidate, error) {
	newest, err := w.store.Newest(ctx, w.pool)
	if err != nil {
		return platform.Candidate{}, err
	}
	c, err := w.content(ctx)
	c.Since = newest
	return c, err
}

// offer brings what was read into force. What this process has offered before it offers again only if another commit of the
// same branch took its place, and two looks say so: whoever looked last knows what the branch has, but for a forge that answers one
// look with what was there before the other.
func (w *platformWatcher) offer(ctx context.Context, c platform.Candidate) error {
	version := c.Files.Digest()
	replaced := c.Since.Source == c.Source && c.Since.Commit != c.Commit && c.Since.Digest != version
	twice := replaced && w.replaced == version
	w.replaced = ""
	if replaced {
		w.replaced = version
	}
	if version == w.seen && !twice {
		return nil
	}
	var changed bool
	var faults fault.List
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) (err error) {
		if changed, faults, err = w.store.Offer(ctx, tx, c); err != nil || !changed {
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
	if told == w.told && !changed {
		return nil
	}
	w.told = told
	for _, f := range faults {
		w.log.Error().Str("code", string(f.Code)).Str("place", f.Place.String()).Str("severity", f.Severity.String()).Msg("platform configuration: " + f.Message)
	}
	if changed {
		w.log.Info().Str("source", c.Source).Str("commit", c.Commit).Msg("platform configuration in force")
	}
	return nil
}

// content returns what the source holds; without any source, what suits a first try.
func (w *platformWatcher) content(ctx context.Context) (platform.Candidate, error) {
	switch {
	case w.cfg.Directory != "":
		files, err := readPlatform(w.cfg.Directory)
		return platform.Candidate{Source: w.cfg.Directory, Files: files}, err
	case w.cfg.Repository != "":
		return w.fetch(ctx)
	default:
		return platform.Candidate{Source: "built in", Files: builtInPlatform()}, nil
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

func (w *platformWatcher) fetch(ctx context.Context) (platform.Candidate, error) {
	ref := "refs/heads/" + w.cfg.Branch
	refs, err := w.git.ListRefs(ctx, w.remote, ref)
	if err != nil {
		return platform.Candidate{}, err
	}
	commit, ok := refs.Commits[ref]
	if !ok {
		return platform.Candidate{}, fault.New(fault.BranchGone, "the platform's repository has no branch %s", w.cfg.Branch)
	}
	mirror, _, err := w.git.OpenMirror(filepath.Join(w.dir, "mirror"), w.remote)
	if err != nil {
		return platform.Candidate{}, err
	}
	if err := mirror.Fetch(ctx, gitrepo.Want{Commit: commit, Ref: ref}); err != nil {
		return platform.Candidate{}, err
	}
	tree, err := mirror.Tree(ctx, commit)
	if err != nil {
		return platform.Candidate{}, err
	}
	prefix := ""
	if w.cfg.Path != "" {
		prefix = strings.Trim(path.Clean(w.cfg.Path), "/") + "/"
	}
	paths, err := tree.Paths(func(p string) bool {
		return strings.HasPrefix(p, prefix) && (strings.HasSuffix(p, ".yaml") || strings.HasSuffix(p, ".yml")) && !strings.Contains("/"+p, "/.")
	})
	if err != nil {
		return platform.Candidate{}, err
	}
	files := platform.Files{}
	for _, p := range paths {
		content, _, err := tree.Read(p)
		if err != nil {
			return platform.Candidate{}, err
		}
		files[strings.TrimPrefix(p, prefix)] = string(content)
	}
	source := w.cfg.Repository + ", branch " + w.cfg.Branch
	if prefix != "" {
		source += ", folder " + prefix
	}
	return platform.Candidate{Source: source, Commit: string(commit), Files: files}, nil
}
