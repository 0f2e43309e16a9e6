package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/postgres"
)

const (
	// artefactLimit is what is kept of an artefact, in bytes; one that was cut has a note of that behind it.
	artefactLimit = 256 << 10
	// lineLimit is what is kept of a log's line, in bytes: an answer's first page, and not the whole of it.
	lineLimit = 8 << 10
	// logLimit is how long a step's log may become, in bytes.
	logLimit = 1 << 20
)

// Artefact is something that a step left for people to look at. Known secret values are blacked out in it.
type Artefact struct {
	Step      string `json:"step"`
	Name      string `json:"name"`
	MediaType string `json:"mediaType"`
	Size      int    `json:"size"`
	// Cut says that it was longer than what is kept.
	Cut bool      `json:"cut,omitempty"`
	At  time.Time `json:"at"`
}

const (
	// A worker that lost the run leaves nothing.
	sqlLeave = `INSERT INTO artefacts (run, step, name, media_type, content)
SELECT id, $3, $4, $5, $6 FROM runs WHERE id = $1 AND token = $2 FOR SHARE
ON CONFLICT (run, step, name) DO UPDATE SET media_type = $5, content = $6, at = now()`
	sqlArtefacts = `SELECT step, name, media_type, length(content) AS size, length(content) > $2 AS cut, at FROM artefacts WHERE run = $1 ORDER BY at, step, name`
	sqlArtefact  = `SELECT media_type, content FROM artefacts WHERE run = $1 AND step = $2 AND name = $3`
	// A worker that lost the run says nothing any more. Lines of a run are written one after the other: who follows them by
	// their ids misses none. A log that has reached its limit says so once.
	sqlLog = `WITH mine AS (SELECT id FROM runs WHERE id = $1 AND token = $4 FOR NO KEY UPDATE),
room AS (UPDATE steps SET logged = logged + octet_length($3) + 1 FROM mine WHERE run = mine.id AND name = $2 AND logged < $5 RETURNING logged)
INSERT INTO run_logs (run, step, message)
SELECT mine.id, $2, CASE WHEN room.logged >= $5 THEN 'the log ends here: it has reached its limit' ELSE $3 END FROM mine
LEFT JOIN room ON true WHERE room.logged IS NOT NULL OR NOT EXISTS (SELECT FROM steps WHERE run = $1 AND name = $2)`
)

// log writes a line of a step's log.
func (e *execution) log(ctx context.Context, step, format string, args ...any) {
	line := shorten(e.Redactor.Redact(fmt.Sprintf(format, args...)), lineLimit, " … cut here: the line has %d bytes, of which %d are kept")
	line = strings.ReplaceAll(line, "\x00", "") // PostgreSQL has no such character
	if _, err := e.Pool.Exec(ctx, sqlLog, e.run.ID, step, line, e.run.Token, logLimit); err != nil {
		e.Log.Warn().Err(err).Int64("run", e.run.ID).Msg("line of run's log lost")
	}
}

// leave keeps an artefact of a step.
func (e *execution) leave(ctx context.Context, step, name, mediaType string, content []byte) {
	clean := shorten(e.Redactor.Redact(string(content)), artefactLimit, "\n… cut here: it has %d bytes, of which %d are kept\n")
	if _, err := e.Pool.Exec(ctx, sqlLeave, e.run.ID, e.run.Token, step, name, mediaType, []byte(clean)); err != nil {
		e.Log.Warn().Err(err).Int64("run", e.run.ID).Msg("artefact of run lost")
	}
}

// shorten cuts a text behind a number of bytes, between two characters, and says so at its end. note is told how many bytes
// there were and how many are kept.
func shorten(text string, limit int, note string) string {
	if len(text) <= limit {
		return text
	}
	kept := limit
	for kept > 0 && !utf8.RuneStart(text[kept]) {
		kept--
	}
	return text[:kept] + fmt.Sprintf(note, len(text), kept)
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
	list, err := postgres.Collect[Artefact](db.Query(ctx, sqlArtefacts, run, artefactLimit))
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
