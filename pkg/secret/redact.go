package secret

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mask is what stands in place of a secret value.
const Mask = "(secret)"

// Shortest is the length below which a value is not redacted by value: it would take ordinary words out of texts.
const Shortest = 6

// shortestLine is the length from which a line of a longer value is a secret of its own: shorter ones may be words.
const shortestLine = 16

// noted is how long a value of [Redactor.Note] is known: longer than anybody handles it who has not noted it again.
const noted = 24 * time.Hour

// Redactor takes known secret values out of texts, also where they are written as base64, URL- or JSON-escaped.
// It is safe for concurrent use. The zero value knows none.
type Redactor struct {
	mu    sync.Mutex
	known map[string]entry
	// replacer is nil while it has to be made anew.
	replacer atomic.Pointer[strings.Replacer]
}

// entry is a known value.
type entry struct {
	forms []string
	// until is when it may be forgotten; zero for never.
	until time.Time
}

// Add makes values known for good. Values shorter than six bytes are left alone.
func (r *Redactor) Add(values ...string) { r.add(time.Time{}, values) }

// Note makes values known for a day: what runs handle is something else each time, and must not add up for ever. Who has them
// in hand again notes them again.
func (r *Redactor) Note(values ...string) { r.add(time.Now().Add(noted), values) }

func (r *Redactor) add(until time.Time, values []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]entry{}
	}
	for _, v := range values {
		if len(v) < Shortest {
			continue
		}
		e, known := r.known[v]
		if !known {
			e = entry{forms: forms(v), until: until}
			r.replacer.Store(nil)
		}
		if until.IsZero() || !e.until.IsZero() {
			e.until = until
		}
		r.known[v] = e
	}
}

// current returns the replacer of all known values; nil if there are none.
func (r *Redactor) current() *strings.Replacer {
	if p := r.replacer.Load(); p != nil {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.replacer.Load(); p != nil || len(r.known) == 0 {
		return p
	}
	now := time.Now()
	maps.DeleteFunc(r.known, func(_ string, e entry) bool { return !e.until.IsZero() && e.until.Before(now) })
	all := map[string]bool{}
	for _, e := range r.known {
		for _, form := range e.forms {
			all[form] = true
		}
	}
	p := replacer(all)
	r.replacer.Store(p)
	return p
}

// forms returns the ways in which a value is written. Base64 of a value inside a longer text depends on its offset, so
// the three possible offsets are there, without the characters that neighbours have a part in.
func forms(v string) []string {
	out := []string{v, url.QueryEscape(v), url.PathEscape(v)}
	if lines := strings.Split(v, "\n"); len(lines) > 1 {
		// A key is written line by line, or on one line, too. Its first and last line are no secret.
		for _, line := range lines {
			if line = strings.TrimSpace(line); len(line) >= shortestLine && !strings.HasPrefix(line, "-----") {
				out = append(out, line)
			}
		}
	}
	if quoted, err := json.Marshal(v); err == nil {
		out = append(out, string(quoted[1:len(quoted)-1]))
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for offset := range 3 {
			encoded := encoding.EncodeToString(append(make([]byte, offset), v...))
			from, to := []int{0, 2, 3}[offset], len(encoded)
			if (offset+len(v))%3 != 0 {
				to--
			}
			if to-from >= Shortest {
				out = append(out, encoded[from:to])
			}
		}
	}
	return out
}

func replacer(known map[string]bool) *strings.Replacer {
	values := make([]string, 0, len(known))
	for v := range known {
		values = append(values, v)
	}
	// Longest first: of two values that begin alike, the whole one must go.
	slices.SortFunc(values, func(a, b string) int {
		if d := len(b) - len(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		pairs = append(pairs, v, Mask)
	}
	return strings.NewReplacer(pairs...)
}

// Redact returns s with [Mask] in place of every known value.
func (r *Redactor) Redact(s string) string {
	if p := r.current(); p != nil {
		return p.Replace(s)
	}
	return s
}

// Writer returns a writer that redacts each write on its own before it reaches w. Whoever writes must write whole
// lines, as zerolog does.
func (r *Redactor) Writer(w io.Writer) io.Writer { return redactingWriter{r, w} }

type redactingWriter struct {
	redactor *Redactor
	below    io.Writer
}

func (w redactingWriter) Write(p []byte) (int, error) {
	if _, err := io.WriteString(w.below, w.redactor.Redact(string(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}
