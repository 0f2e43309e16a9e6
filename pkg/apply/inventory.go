package apply

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"sigs.k8s.io/yaml"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/planner"
	"github.com/innominatus/reconciler/pkg/postgres"
	"github.com/innominatus/reconciler/pkg/queue"
)

// SharedFolder is where the objects are that several applications need. The name cannot be a workload's.
const SharedFolder = "_shared"

// header stands in every manifest, for people who find it.
const header = "# Rendered by reconciler from a Score file; changes made here are overwritten.\n"

// item is an object in a target. One that a delivery under another name of the application may have left, or that stays there
// beside its new place, is in two: the second one is a stray.
type item struct {
	Key         string
	Application int64
	Unit        planner.Unit
	Path        string
	Digest      string
}

const (
	// All items of the application, and all others' that are shared or where one of its own is. Strays are items as well.
	sqlItems = `WITH there AS (SELECT key, application, unit, path, digest FROM inventories WHERE environment = $1
  UNION ALL SELECT key, application, unit, path, digest FROM strays WHERE environment = $1)
SELECT * FROM there WHERE application = $2 OR unit = 'shared' OR path IN (SELECT path FROM there WHERE application = $2) ORDER BY key, application, path`
	// The token is looked at once more where it is written: no row is written by who has an older one than wrote it last.
	sqlKeepItem = `INSERT INTO inventories AS i (environment, key, application, unit, path, digest, token) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (environment, key, application) DO UPDATE SET unit = $4, path = $5, digest = $6, token = $7 WHERE i.token <= $7`
	// What is about to be there. A key that is there already keeps its path, which may have to be removed, and its new one is
	// a stray until the delivery is done.
	sqlClaimItem = `WITH claimed AS (INSERT INTO inventories (environment, key, application, unit, path, digest, token) VALUES ($1, $2, $3, $4, $5, $6, $7)
  ON CONFLICT (environment, key, application) DO NOTHING)
INSERT INTO strays (environment, key, application, unit, path, digest)
SELECT environment, key, application, $4, $5, $6 FROM inventories WHERE environment = $1 AND key = $2 AND application = $3 AND path <> $5
ON CONFLICT DO NOTHING`
	// Objects that others have, and what they have in the folder of a name. What is shared may belong to several, but not beside
	// somebody's own.
	sqlTaken = `SELECT DISTINCT ON (key) key, application, coalesce((SELECT name FROM runs r WHERE r.application = i.application ORDER BY id DESC LIMIT 1), '') AS name, lies
FROM (SELECT key, application, false AS lies FROM inventories WHERE environment = $1 AND (key = ANY($3) OR unit = 'application' AND key = ANY($4))
  UNION ALL SELECT key, application, true FROM inventories WHERE environment = $1 AND unit = 'application' AND split_part(path, '/', 1) = $5
  UNION ALL SELECT key, application, true FROM strays WHERE environment = $1 AND split_part(path, '/', 1) = $5) i
WHERE application <> $2 ORDER BY key, lies, application`
	sqlDropItems  = `DELETE FROM inventories WHERE environment = $1 AND application = $2 AND NOT key = ANY($3) AND token <= $4`
	sqlDropStrays = `DELETE FROM strays WHERE environment = $1 AND application = $2`
	sqlKeepStray  = `INSERT INTO strays (environment, key, application, unit, path, digest) VALUES ($1, $2, $3, $4, $5, $6)`
	// Runs that touch shared objects of an environment take turns.
	sqlLockShared = `SELECT pg_try_advisory_xact_lock(hashtextextended('shared objects ' || $1, 11))`
)

// manifests returns the files of a release and the inventory that describes them.
func manifests(r *planner.Release, application int64) ([]File, []item, error) {
	if r == nil {
		return nil, nil, nil
	}
	var files []File
	var items []item
	taken := map[string]bool{}
	for _, o := range r.Objects {
		tree, err := r.Open(o)
		if err != nil {
			return nil, nil, err
		}
		text, err := yaml.Marshal(tree)
		if err != nil {
			return nil, nil, fmt.Errorf("write %s %s: %w", o.Kind, o.Name, err)
		}
		path := pathOf(r.Workload, o)
		if taken[path] {
			// The same kind and name in another namespace, or a name that differs in what files do not get.
			path = strings.TrimSuffix(path, ".yaml") + "." + digest([]byte(o.Key()))[:8] + ".yaml"
		}
		taken[path] = true
		files = append(files, File{Path: path, Content: append([]byte(header), text...), Secret: o.HoldsSecrets(), resource: o.Resource})
		items = append(items, item{Key: o.Key(), Application: application, Unit: o.Unit, Path: path, Digest: digest(o.Body)})
	}
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return files, items, nil
}

// unfit are characters that file names do not get, although names of some Kubernetes objects have them.
var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]`)

// pathOf is an object's file: NAME.KIND.GROUP.yaml in the folder of the application or of what is shared.
func pathOf(workload string, o planner.Object) string {
	folder := workload
	if o.Unit == planner.UnitShared {
		folder = SharedFolder
	}
	group, _, _ := strings.Cut(o.Key(), "/")
	name := unfit.ReplaceAllString(strings.TrimLeft(o.Name, "."), "_")
	if name != o.Name || strings.Contains(name, "..") {
		name = strings.ReplaceAll(name, "..", "_") + "_" + digest([]byte(o.Name))[:8]
	}
	parts := []string{name, unfit.ReplaceAllString(strings.ToLower(o.Kind), "_")}
	if group != "" {
		parts = append(parts, unfit.ReplaceAllString(group, "_"))
	}
	return folder + "/" + strings.Join(parts, ".") + ".yaml"
}

func digest(b []byte) string {
	sum := sha256.Sum256(bytes.TrimSpace(b))
	return hex.EncodeToString(sum[:])
}

// folders returns the folders that items are in.
func folders(items []item) (list []string) {
	for _, i := range items {
		folder, _, _ := strings.Cut(i.Path, "/")
		list = append(list, folder)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// obsolete returns the paths of what the application had and does not want any more, and nobody else needs, dependents
// first.
func obsolete(have []item, want []item, application int64) []string {
	wanted := map[string]bool{}
	for _, w := range want {
		wanted[w.Path] = true
	}
	for _, h := range have {
		if h.Application != application {
			wanted[h.Path] = true
		}
	}
	var gone []item
	for _, h := range have {
		if h.Application == application && !wanted[h.Path] {
			gone = append(gone, h)
		}
	}
	slices.SortStableFunc(gone, func(a, b item) int { return cmp.Compare(removalRank(a), removalRank(b)) })
	paths := make([]string, len(gone))
	for i, g := range gone {
		paths[i] = g.Path
	}
	return slices.Compact(paths)
}

// removalOrder has the kinds that go first: what sends traffic, then what runs, then what those read, then data.
var removalOrder = []string{"Ingress", "HTTPRoute", "HorizontalPodAutoscaler", "Deployment", "Job", "CronJob", "DaemonSet", "StatefulSet", "Service", "ConfigMap"}

func removalRank(i item) int {
	parts := strings.SplitN(i.Key, "/", 3)
	if n := slices.Index(removalOrder, parts[1]); n >= 0 {
		return n
	}
	return len(removalOrder)
}

func (s *Store) items(ctx context.Context, db postgres.Querier, run Run) ([]item, error) {
	list, err := postgres.Collect[item](db.Query(ctx, sqlItems, run.Environment, run.Application))
	return list, fault.While("read inventory", err)
}

// Taken is an object that belongs to another application.
type Taken struct {
	Key         string
	Application int64
	// Name is the application's.
	Name string
	// Lies says that nobody else wants the object: it lies in the folder of a name that somebody else wants.
	Lies bool
}

// Taken returns which objects of a release belong to others than its application (0 for one that is new), and what others have
// left in the folder of its name. Who has no objects takes nothing.
func (s *Store) Taken(ctx context.Context, db postgres.Querier, environment string, application int64, name string, objects []planner.Object) ([]Taken, error) {
	if len(objects) == 0 {
		return nil, nil
	}
	own, shared := []string{}, []string{}
	for _, o := range objects {
		if o.Unit == planner.UnitShared {
			shared = append(shared, o.Key())
		} else {
			own = append(own, o.Key())
		}
	}
	list, err := postgres.Collect[Taken](db.Query(ctx, sqlTaken, environment, application, own, shared, name))
	return list, fault.While("read owners of objects", err)
}

// Fault says whose an object is, or who has left it under a name that another application wants.
func (t Taken) Fault(name string) *fault.Fault {
	parts := strings.SplitN(t.Key, "/", 4) // group, kind, namespace, name
	if t.Lies {
		return fault.New(fault.FolderTaken, "%s %s of application %s still lies under the name %q", parts[1], parts[3], t.Name, name)
	}
	return fault.New(fault.ObjectTaken, "%s %s belongs to application %s", parts[1], parts[3], t.Name)
}

// claim adds to the inventory what is about to be delivered, so that it is known and can be removed if the run ends
// halfway and a newer release does not want it.
func (s *Store) claim(ctx context.Context, tx pgx.Tx, run Run, items []item, objects []planner.Object) error {
	taken, err := s.Taken(ctx, tx, run.Environment, run.Application, run.Name, objects)
	if err != nil {
		return err
	}
	if len(taken) > 0 {
		return taken[0].Fault(run.Name)
	}
	for _, it := range items {
		if _, err := tx.Exec(ctx, sqlClaimItem, run.Environment, it.Key, run.Application, it.Unit, it.Path, it.Digest, run.Token); err != nil {
			return fmt.Errorf("claim inventory: %w", err)
		}
	}
	return nil
}

// keep stores the inventory of an application as it is now, in the transaction that notes what its run wrote. An object that
// stays where it was beside its new place is a stray there.
func (s *Store) keep(ctx context.Context, tx pgx.Tx, run Run, items []item) error {
	if _, err := tx.Exec(ctx, sqlDropStrays, run.Environment, run.Application); err != nil {
		return fmt.Errorf("store inventory: %w", err)
	}
	keys, paths := []string{}, map[string]bool{}
	for _, it := range items {
		var tag pgconn.CommandTag
		var err error
		switch {
		case !slices.Contains(keys, it.Key):
			tag, err = tx.Exec(ctx, sqlKeepItem, run.Environment, it.Key, run.Application, it.Unit, it.Path, it.Digest, run.Token)
		case !paths[it.Path]:
			tag, err = tx.Exec(ctx, sqlKeepStray, run.Environment, it.Key, run.Application, it.Unit, it.Path, it.Digest)
		default:
			continue
		}
		if err == nil && tag.RowsAffected() == 0 {
			err = queue.ErrLeaseLost
		}
		if err != nil {
			return fmt.Errorf("store inventory: %w", err)
		}
		keys, paths[it.Path] = append(keys, it.Key), true
	}
	_, err := tx.Exec(ctx, sqlDropItems, run.Environment, run.Application, keys, run.Token)
	return fault.While("store inventory", err)
}
