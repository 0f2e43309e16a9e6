package apply

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/postgres"
)

// pathsLimit is how many sets of golden paths are kept that were read: one for each path of each version of the platform
// configuration that runs follow at the same time.
const pathsLimit = 100

// paths keeps golden paths by the digest of their texts. To read them takes milliseconds, and a run is taken up many times.
type paths struct {
	mu   sync.Mutex
	sets map[[sha256.Size]byte]golden.Set
}

// path returns the golden path that a run follows, with those that it uses.
func (r *Runner) path(ctx context.Context, db postgres.Querier, run Run) (golden.Set, *golden.Path, error) {
	var text []byte
	if err := db.QueryRow(ctx, sqlPaths, run.ID).Scan(&text); err != nil {
		return nil, nil, fmt.Errorf("read the paths of run %d: %w", run.ID, err)
	}
	set, err := r.paths.load(text)
	if err != nil {
		return nil, nil, err
	}
	if path := set[run.Paths.Name]; path != nil {
		return set, path, nil
	}
	return nil, nil, fmt.Errorf("run %d follows path %s, which it does not have", run.ID, run.Paths.Name)
}

// load reads golden paths from JSON, as the database writes it.
func (p *paths) load(text []byte) (golden.Set, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	digest := sha256.Sum256(text)
	if set := p.sets[digest]; set != nil {
		return set, nil
	}
	texts := map[string]string{}
	if err := json.Unmarshal(text, &texts); err != nil {
		return nil, fmt.Errorf("read golden paths: %w", err)
	}
	set, faults := platform.LoadPaths(texts)
	if faults.Err() != nil {
		return nil, fault.New(fault.ConfigNewer, "the golden paths of the run: %s", faults.Err())
	}
	if p.sets == nil || len(p.sets) >= pathsLimit {
		p.sets = map[[sha256.Size]byte]golden.Set{}
	}
	p.sets[digest] = set
	return set, nil
}
