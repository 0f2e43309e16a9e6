package apply

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/platform/golden"
	"github.com/innominatus/reconciler/pkg/secret"
)

// answerLimit is how much of an answer is read, in bytes: outputs are kept in the database.
const answerLimit = 1 << 20

// request is what an http step does.
func (e *engine) request(ctx context.Context, n *node) (result, error) {
	answer, err := e.send(ctx, n.step.HTTP, n.values, n.Name, "do")
	if err != nil {
		return result{}, err
	}
	outputs, err := results(n, n.values, answer)
	return result{detail: fmt.Sprintf("%s answered %d", n.step.HTTP.Method, answer.Status), outputs: outputs}, err
}

// results are what a step gives that was answered.
func results(n *node, values golden.Values, answer golden.Response) (map[string]any, error) {
	outputs, err := n.step.Results(values, answer)
	if err != nil {
		return nil, fault.New(fault.AnswerUnusable, "%s %s answered %d: %w", n.step.HTTP.Method, n.step.HTTP.URL, answer.Status, err)
	}
	for _, text := range golden.Hidden(n.step.Outputs, outputs) {
		if len(text) < secret.Shortest {
			return nil, fault.New(fault.AnswerUnusable, "a secret output has %d bytes, and fewer than %d cannot be kept out of sight", len(text), secret.Shortest)
		}
	}
	return outputs, nil
}

// send sends a request once and returns an answer that is as expected. act is part of the idempotency key: what a step does
// and what undoes it are two effects.
func (e *execution) send(ctx context.Context, h *golden.HTTP, values golden.Values, step, act string) (golden.Response, error) {
	var answer golden.Response
	secrets, err := e.secrets(h)
	if err != nil {
		return answer, err
	}
	r, err := h.Request(values.With("secrets.", secrets))
	if err != nil {
		return answer, err
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, bytes.NewReader(r.Body))
	if err != nil {
		return answer, fault.New(fault.PathValue, "request: %w", err)
	}
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", "reconciler")
	req.Header.Set("Idempotency-Key", idempotencyKey(e.run, step, act))
	for name, value := range r.Headers {
		req.Header.Set(name, value)
	}
	// What expressions gave may be secret: the address is told as the platform wrote it.
	e.log(ctx, step, "%s %s", r.Method, h.URL)
	// Only the way to the receiver stands between this question and the request: a worker that was stopped before it finds that the
	// run is lost. What one sends late that is stopped behind it has the key by which the receiver knows it.
	if err := e.Runs.alive(ctx, e.Pool, e.run); err != nil {
		return answer, err
	}
	resp, err := e.client().Do(req)
	if err != nil {
		return answer, fault.New(fault.RequestFailed, "%s %s: %w", r.Method, h.URL, withoutURL(err))
	}
	defer resp.Body.Close()
	if answer, err = read(resp); err != nil {
		return answer, fault.New(fault.RequestFailed, "%s %s: %w", r.Method, h.URL, withoutURL(err))
	}
	e.log(ctx, step, "answer %d", answer.Status)
	if h.Keep {
		e.keepAnswer(ctx, step, act, answer)
	}
	return answer, e.judge(h, values, r, answer, resp.Header.Get("Retry-After"))
}

// secrets returns the secrets that a request carries.
func (r *Runner) secrets(h *golden.HTTP) (map[string]any, error) {
	out := map[string]any{}
	for _, name := range h.Secrets() {
		v, there := r.Secrets[name]
		if !there {
			return nil, fault.New(fault.SecretMissing, "there is no secret %q", name)
		}
		out[name] = v
	}
	return out, nil
}

// judge says whether an answer is as expected. One that asks to come back later is tried again, and so is one that says
// that the server failed; any other is final.
func (e *execution) judge(h *golden.HTTP, values golden.Values, r golden.Request, answer golden.Response, after string) error {
	later := answer.Status >= 500 || answer.Status == http.StatusTooManyRequests || answer.Status == http.StatusRequestTimeout
	ok, err := h.Accepts(values, answer)
	if ok {
		return nil
	}
	if err != nil && !later { // of an answer that says to come back, nothing need be known
		return fault.New(fault.AnswerUnusable, "%s %s answered %d: %w", r.Method, h.URL, answer.Status, err)
	}
	code := fault.RequestRefused
	if later || answer.Status < 300 {
		code = fault.RequestFailed // what is not yet as expected may become so
	}
	f := fault.New(code, "%s %s answered %d", r.Method, h.URL, answer.Status)
	if h.Expect != "" {
		f = fault.New(code, "%s %s answered %d, and `%s` is not true of it", r.Method, h.URL, answer.Status, h.Expect)
	}
	if seconds, err := strconv.Atoi(after); err == nil && seconds > 0 {
		f.After = min(time.Duration(seconds)*time.Second, time.Hour)
	}
	return f
}

// withoutURL returns what went wrong without the address that Go's client adds to it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// read reads an answer: JSON as what it says, anything else as text.
func read(resp *http.Response) (golden.Response, error) {
	answer := golden.Response{Status: resp.StatusCode, Headers: map[string]string{}}
	for name := range resp.Header {
		answer.Headers[strings.ToLower(name)] = resp.Header.Get(name)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case err != nil:
		return answer, err
	case len(body) > answerLimit:
		return answer, fmt.Errorf("the answer has more than %d bytes", answerLimit)
	}
	if golden.Decode(body, &answer.Body) != nil {
		answer.Body = strings.ToValidUTF8(string(body), "�")
	}
	return answer, nil
}

// idempotencyKey names an effect: all attempts have the same, and no other effect has it.
func idempotencyKey(run Run, step, act string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %d %d %s", run.ID, run.CreatedAt.UTC().Format(time.RFC3339Nano), run.Application, run.Generation, step+" "+act))
	return hex.EncodeToString(sum[:16])
}

// client sends what golden paths ask for. What a server redirects to was not what the platform team wrote.
func (r *Runner) client() *http.Client {
	if r.Client != nil {
		return r.Client
	}
	return &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
