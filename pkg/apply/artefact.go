package apply

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/postgres"
)

const (
	// artefactLimit is the largest artefact, in bytes; what is longer is cut.
	artefactLimit = 256 << 10
	// logLimit is how long a step's log may become, in bytes.
	logLimit = 1 << 20
)

// Artefact is something that a step left for people to look at. Known secret values are blacked out in it.
type Artefact struct {
	Step      string    `json:"step"`
	Name      string    `json:"name"`
	MediaType string    `json:"mediaType"`
	Size      int       `json:"size"`
	At        time.Time `json:"at"`
}

const (
	// A worker that lost the run leaves nothing.
	sqlLeave = `INSERT INTO artefacts (run, step, name, media_type, content)
SELECT id, $3, $4, $5, $6 FROM runs WHERE id = $1 AND token = $2 FOR SHARE
ON CONFLICT (run, step, name) DO UPDATE SET media_type = $5, content = $6, at = now()`
	sqlArtefacts = `SELECT step, name, media_type, length(content) AS size, at FROM artefacts WHERE run = $1 ORDER BY at, step, name`
	sqlArtefact  = `SELECT media_type, content FROM artefacts WHERE run = $1 AND step = $2 AND name = $3`
	// A worker that lost the run says nothing any more. Lines of a run are written one after the other: who follows them by
	// their ids misses none. A log that has reached its limit says so once.
	sqlLog = `WITH mine AS (SELECT id FROM runs WHERE id = $1 AND token = $4 FOR NO KEY UPDATE),
room AS (UPDATE steps SET logged = logged + octet_length($3) + 1 FROM mine WHERE run = mine.id AND name = $2 AND logged < $5 RETURNING logged)
INSERT INTO run_logs (run, step, message)
SELECT mine.id, $2, CASE WHEN room.logged >= $5 THEN 'the log ends here: it has reached its limit' ELSE $3 END FROM mine
LEFT JOIN room ON true WHERE room.logged IS NOT NULL OR NOT EXISTS (SELECT FROM steps WHERE run = $1 AND name = $2)`
)

// leave keeps an artefact of a step.
func (e *execution) leave(ctx context.Context, step, name, mediaType string, content []byte) {
	clean := []byte(e.Redactor.Redact(string(content)))
	if len(clean) > artefactLimit {
		clean = clean[:artefactLimit]
	}
	if _, err := e.Pool.Exec(ctx, sqlLeave, e.run.ID, e.run.Token, step, name, mediaType, clean); err != nil {
		e.Log.Warn().Err(err).Int64("run", e.run.ID).Msg("artefact of run lost")
	}
}

// keepAnswer keeps the body of an answer.
func (e *execution) keepAnswer(ctx context.Context, step, act string, answer golden.Response) {
	if answer.Body == nil || answer.Body == "" {
		return
	}
	if text, ok := answer.Body.(string); ok {
		e.leave(ctx, step, act+".txt", "text/plain; charset=utf-8", []byte(text))
		return
	}
	if content, err := json.MarshalIndent(answer.Body, "", "  "); err == nil {
		e.leave(ctx, step, act+".json", "application/json", content)
	}
}

// Artefacts returns what a run's steps left.
func (s *Store) Artefacts(ctx context.Context, db postgres.Querier, run int64) ([]Artefact, error) {
	list, err := postgres.Collect[Artefact](db.Query(ctx, sqlArtefacts, run))
	return list, fault.While("read artefacts", err)
}

// Artefact returns the content of one, or a fault.
func (s *Store) Artefact(ctx context.Context, db postgres.Querier, run int64, step, name string) (mediaType string, content []byte, err error) {
	err = db.QueryRow(ctx, sqlArtefact, run, step, name).Scan(&mediaType, &content)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil, fault.New(fault.RunUnknown, "step %s of run %d left no %s", step, run, name)
	}
	return mediaType, content, fault.While("read artefact", err)
}
