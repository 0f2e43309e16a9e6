package webhooks

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// bodyLimit is the largest body read, in bytes: pushes with thousands of commits stay below it, since forges cut
	// their lists.
	bodyLimit = 5 << 20
	// nameLimit is the longest name of a repository, in bytes: forges allow 40 for the owner and 100 for the name.
	nameLimit = 300
	// eventLimit and deliveryLimit bound what is stored of the headers, in bytes: events are words, ids are UUIDs.
	eventLimit, deliveryLimit = 100, 200
	// answerTimeout bounds the work for one delivery: Gitea gives up after 5 s and does not try again.
	answerTimeout = 4 * time.Second
	// retention is how long deliveries are remembered, so that a redelivery is known.
	retention = 7 * 24 * time.Hour
)

const (
	sqlRemember = `INSERT INTO deliveries (forge, delivery, event, repository) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING`
	sqlForget   = `DELETE FROM deliveries WHERE received_at < now() - make_interval(secs => $1)`
)

// Hook is a forge that may send webhooks.
type Hook struct {
	// Kind is gitea or github: it decides the names of headers.
	Kind string
	// Secret signs the bodies; never empty.
	Secret []byte
}

// Receiver is the HTTP handler for /webhooks/FORGE.
type Receiver struct {
	Pool *pgxpool.Pool
	// Hooks by the name of the forge.
	Hooks map[string]Hook
	// Hint asks for a look at a repository that is watched on a forge; unknown ones are left alone.
	Hint func(ctx context.Context, tx pgx.Tx, forge, repository string) error
	// Replan asks for a new plan of a pull request; unknown ones are left alone. Anybody who may comment may ask: it
	// changes nothing.
	Replan func(ctx context.Context, tx pgx.Tx, forge, repository string, pull int64) error
	// Fail writes a fault as the answer.
	Fail   func(w http.ResponseWriter, r *http.Request, status int, f *fault.Fault)
	Tracer trace.Tracer
	Log    zerolog.Logger

	received *prometheus.CounterVec
}

// Collectors returns the receiver's metrics; call it once, before the receiver is used.
func (rc *Receiver) Collectors() []prometheus.Collector {
	rc.received = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "reconciler_webhooks_total", Help: "Webhooks by forge and outcome.",
	}, []string{"forge", "outcome"})
	return []prometheus.Collector{rc.received}
}

// headers are the names of the headers that a kind of forge sends, and what stands before the signature.
type headers struct {
	event, delivery, signature, prefix string
	// signsContent says that the signature of a form covers the JSON in it and not the body as it was sent.
	signsContent bool
}

var headersOf = map[string]headers{
	"gitea":  {"X-Gitea-Event", "X-Gitea-Delivery", "X-Gitea-Signature", "", true},
	"github": {"X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256", "sha256=", false},
}

// wakes are the events after which a repository is looked at; others are authentic and need nothing.
var wakes = map[string]bool{
	"push": true, "create": true, "delete": true, "pull_request": true, "pull_request_sync": true, "merge_group": true,
}

// ServeHTTP verifies a delivery, remembers it together with the hint that it gives, and answers.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("forge")
	outcome, status, err := rc.receive(w, r, name)
	label := name
	if _, known := rc.Hooks[name]; !known {
		label = "unknown" // the label's values must be bounded
	}
	rc.received.WithLabelValues(label, outcome).Inc()
	if err != nil {
		f := fault.Of(err)[0]
		if status >= http.StatusInternalServerError {
			// The server gives every answer an id, which is all that it tells of such an error.
			rc.Log.Error().Err(err).Str("forge", label).Str("request", w.Header().Get("X-Request-Id")).Msg("webhook not stored")
		}
		rc.Fail(w, r, status, f)
		return
	}
	w.WriteHeader(status)
}

func (rc *Receiver) receive(w http.ResponseWriter, r *http.Request, name string) (outcome string, status int, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	ctx, span := rc.Tracer.Start(ctx, "webhook", trace.WithAttributes(attribute.String("forge", name)))
	defer span.End()
	hook, known := rc.Hooks[name]
	if !known {
		return "unknown", http.StatusNotFound, fault.New(fault.HookUnknown, "there is no webhook for forge %q", name)
	}
	h := headersOf[hook.Kind]
	event, delivery := r.Header.Get(h.event), r.Header.Get(h.delivery)
	if !isWord(event, eventLimit) || !isWord(delivery, deliveryLimit) {
		return "headers", http.StatusBadRequest, fault.New(fault.HookEvent, "the headers %s and %s are needed", h.event, h.delivery)
	}
	deadline := time.Now().Add(answerTimeout)
	_ = http.NewResponseController(w).SetReadDeadline(deadline) // a body that never ends is cut off
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return "too large", http.StatusRequestEntityTooLarge, fault.New(fault.HookTooLarge, "the body is larger than %d bytes", bodyLimit)
	}
	if err != nil {
		return "body", http.StatusBadRequest, fault.New(fault.HookPayload, "the body could not be read: %w", err)
	}
	content, err := contentOf(r.Header.Get("Content-Type"), body)
	if err != nil {
		return "payload", http.StatusBadRequest, err
	}
	covered := body
	if h.signsContent {
		covered = content
	}
	if !signed(hook.Secret, covered, strings.TrimPrefix(r.Header.Get(h.signature), h.prefix)) {
		return "signature", http.StatusUnauthorized, fault.New(fault.HookSignature, "the header %s does not fit the body", h.signature)
	}
	p, err := parse(content)
	if err != nil {
		return "payload", http.StatusBadRequest, err
	}
	return rc.store(ctx, name, delivery, event, p)
}

// store remembers the delivery and the hint in one transaction: an id counts as seen only once its work is in the queue.
func (rc *Receiver) store(ctx context.Context, name, delivery, event string, p payload) (string, int, error) {
	outcome, repository := "accepted", p.Repository.FullName
	err := pgx.BeginFunc(ctx, rc.Pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, sqlRemember, name, delivery, event, repository)
		if err != nil {
			return fmt.Errorf("store delivery: %w", err)
		}
		if tag.RowsAffected() == 0 {
			outcome = "repeated"
			return nil
		}
		switch {
		case repository != "" && wakes[event]:
			return rc.Hint(ctx, tx, name, repository)
		case repository != "" && p.asksForPlan(event):
			return rc.Replan(ctx, tx, name, repository, p.Issue.Number)
		default:
			outcome = "ignored"
			return nil
		}
	})
	if err != nil {
		return "error", http.StatusServiceUnavailable, err
	}
	return outcome, http.StatusOK, nil
}

// Sweep forgets old deliveries.
func (rc *Receiver) Sweep(ctx context.Context) error {
	_, err := rc.Pool.Exec(ctx, sqlForget, retention.Seconds())
	if err != nil {
		return fmt.Errorf("forget deliveries: %w", err)
	}
	return nil
}

func signed(secret, body []byte, signature string) bool {
	given, err := hex.DecodeString(signature)
	if err != nil || len(given) != sha256.Size || len(secret) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write(body)
	return hmac.Equal(given, mac.Sum(nil))
}

// payload is what is read of a delivery: everything else is asked of the remote.
type payload struct {
	Action     string `json:"action"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
	Issue struct {
		Number int64 `json:"number"`
	} `json:"issue"`
	Comment struct {
		Body string `json:"body"`
	} `json:"comment"`
}

// asksForPlan says that somebody wrote a comment that asks for a new plan of its pull request.
func (p payload) asksForPlan(event string) bool {
	return event == "issue_comment" && p.Action == "created" &&
		slices.ContainsFunc(commands(p.Comment.Body), func(c command) bool { return c.name == "plan" })
}

// contentOf returns the JSON of a body, which forges send as it is or as a field of a form.
func contentOf(contentType string, body []byte) ([]byte, error) {
	if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/x-www-form-urlencoded" {
		return body, nil
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, fault.New(fault.HookPayload, "the body is not a form: %w", err)
	}
	return []byte(form.Get("payload")), nil
}

// parse reads a delivery; the repository's name is "" if it is about none.
func parse(content []byte) (payload, error) {
	var p payload
	if err := json.Unmarshal(content, &p); err != nil {
		return p, fault.New(fault.HookPayload, "the body is not the JSON of a webhook: %w", err)
	}
	if name := p.Repository.FullName; name != "" && !isWord(name, nameLimit) {
		return p, fault.New(fault.HookPayload, "the name of the repository is longer than %d bytes or has characters that names do not have", nameLimit)
	}
	return p, nil
}

// isWord says that s can be stored and shown: not empty, not longer than limit, visible ASCII only, as the names and
// identifiers of forges are.
func isWord(s string, limit int) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
