package golden

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/innominatus/reconciler/pkg/fault"
)

// step checks a step with what it knows.
func (c *check) step(at []string, s *Step, known names) {
	under := func(keys ...string) []string { return append(slices.Clone(at), keys...) }
	var err error
	if s.When != "" {
		s.when, err = known.compile(s.When, kind{name: "boolean"})
		c.expression(under("when"), err)
	}
	if s.ForEach != "" {
		known = known.with(c.forEach(under("for_each"), s, known))
	}
	c.bounds(under, s)
	switch what := s.does(); {
	case len(what) != 1:
		c.bad(at, "step %s does %d of uses, http, approval and wait, want one", s.ID, len(what))
		return
	case s.HTTP == nil && (s.Retry != nil || len(s.Outputs) > 0):
		c.bad(at, "retry and outputs are for steps with http; %s has %s", s.ID, what[0])
	case s.Uses == "" && s.With != nil:
		c.bad(under("with"), "with is for steps with uses; %s has %s", s.ID, what[0])
	}
	switch {
	case s.Uses != "":
		c.uses(at, s, known)
	case s.HTTP != nil:
		c.request(under("http"), s.HTTP, known)
		c.values(under("outputs"), s.Outputs, known.with(response))
		for _, id := range slices.Sorted(maps.Keys(s.Outputs)) {
			if s.HTTP.Keep && s.Outputs[id].Secret {
				c.bad(under("http", "keep"), "keep leaves the whole answer for people to see, and output %s of it is secret", id)
			}
		}
	case s.Approval != nil:
		c.approval(under("approval"), s.Approval, known)
	}
	if s.Compensate != nil && s.Uses != "" {
		c.bad(under("compensate"), "compensate is for steps with http, approval or wait; what a path did is undone by its steps, and a release by its rollback")
	}
	if s.Compensate != nil && s.Compensate.HTTP != nil {
		c.request(under("compensate", "http"), s.Compensate.HTTP, known.with(c.own(s)))
		own := "steps." + s.ID + "."
		s.Compensate.own = slices.ContainsFunc(s.Compensate.HTTP.sources(), func(source string) bool { return strings.Contains(source, own) })
	}
}

// own are the outputs of a step itself, for what undoes it.
func (c *check) own(s *Step) names {
	out := names{}
	for id, k := range c.set.gives(s) {
		out["steps."+s.ID+"."+id] = k
	}
	return out
}

// does names what a step does.
func (s *Step) does() (what []string) {
	for name, is := range map[string]bool{"uses": s.Uses != "", "http": s.HTTP != nil, "approval": s.Approval != nil, "wait": s.Wait != 0} {
		if is {
			what = append(what, name)
		}
	}
	return what
}

func (c *check) forEach(at []string, s *Step, known names) names {
	var err error
	s.forEach, err = known.compile(s.ForEach, anything)
	if err != nil {
		c.expression(at, err)
		return names{"each.key": anything, "each.value": anything}
	}
	k := s.forEach.kind
	s.each = each{key: kind{name: "integer"}, value: anything}
	switch k.name {
	case "array", "any":
		if k.name == "any" {
			s.each.key = anything
		}
	case "object":
		s.each.key = kind{name: "string"}
	default:
		c.bad(at, "for_each gives %s, want array or object", k)
	}
	if k.of != nil {
		s.each.value = *k.of
	}
	return names{"each.key": s.each.key, "each.value": s.each.value}
}

// bounds checks numbers and durations and fills in defaults.
func (c *check) bounds(under func(...string) []string, s *Step) {
	s.Timeout = orDefault(s.Timeout, DefaultTimeout)
	if s.Timeout < time.Second || s.Timeout > 15*time.Minute {
		c.bad(under("timeout"), "timeout is %s, want 1s to 15m", s.Timeout)
	}
	if s.Wait < 0 || s.Wait > 24*time.Hour {
		c.bad(under("wait"), "wait is %s, want at most 24h", s.Wait)
	}
	if s.Concurrency != 0 && s.ForEach == "" {
		c.bad(under("concurrency"), "concurrency is for steps with for_each")
	}
	if s.Concurrency = orDefault(s.Concurrency, DefaultConcurrency); s.Concurrency < 1 || s.Concurrency > 20 {
		c.bad(under("concurrency"), "concurrency is %d, want 1 to 20", s.Concurrency)
	}
	if r := s.Retry; r != nil {
		if r.Attempts < 1 || r.Attempts > 20 {
			c.bad(under("retry", "attempts"), "attempts is %d, want 1 to 20", r.Attempts)
		}
		r.Wait, r.Limit = orDefault(r.Wait, DefaultRetry.Wait), orDefault(r.Limit, DefaultRetry.Limit)
		if r.Wait > r.Limit || r.Limit > time.Hour {
			c.bad(under("retry"), "wait is %s and limit %s, want a wait below the limit and a limit of at most 1h", r.Wait, r.Limit)
		}
	}
}

func (c *check) uses(at []string, s *Step, known names) {
	under := func(keys ...string) []string { return append(slices.Clone(at), keys...) }
	if s.IsRelease() {
		if s.When != "" || s.ForEach != "" || s.With != nil {
			c.bad(at, "the release takes no when, for_each and with: it is deployed once, and as it was planned")
		}
		return
	}
	used := c.set[s.Uses]
	if used == nil {
		all := append(slices.Sorted(maps.Keys(c.set)), Release)
		c.bad(under("uses"), "there is no path %q", s.Uses).Suggest(fault.Nearest(s.Uses, all)).Do("Known here: %s.", strings.Join(all, ", "))
		return
	}
	for _, id := range slices.Sorted(maps.Keys(s.With)) {
		p := used.Params[id]
		if p == nil {
			c.bad(under("with", id), "path %s has no param %q", s.Uses, id).Suggest(fault.Nearest(id, slices.Sorted(maps.Keys(used.Params))))
			continue
		}
		v, err := known.template(s.With[id])
		c.expression(under("with", id), err)
		if want := (kind{name: p.Type}); err == nil && !want.takes(v.kind()) {
			c.bad(under("with", id), "%s is %s, want %s", id, v.kind(), want)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(used.Params)) {
		if _, given := s.With[id]; !given && used.Params[id] != nil && used.Params[id].Default == nil {
			c.bad(at, "path %s needs the param %s", s.Uses, id)
		}
	}
	with := map[string]any{}
	maps.Copy(with, s.With)
	s.with, _ = known.template(with) // each of them was compiled above
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}

func (c *check) request(at []string, h *HTTP, known names) {
	under := func(keys ...string) []string { return append(slices.Clone(at), keys...) }
	if h.Method == "" {
		h.Method = "GET"
	}
	if !slices.Contains(methods, h.Method) {
		c.bad(under("method"), "method is %q, want %s", h.Method, strings.Join(methods, ", "))
	}
	// Where a request goes is the platform's to say: what an expression gives may stand in the path and behind it.
	host, _, _ := strings.Cut(h.URL, "${")
	u, err := url.Parse(host)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || host != h.URL && u.Path == "" {
		c.bad(under("url"), "url must begin with http:// or https:// and a host; ${…} may stand after it")
	}
	h.url, err = known.template(h.URL)
	c.expression(under("url"), err)
	if err == nil {
		h.url.quote = true
	}
	headers := map[string]any{}
	for key, v := range h.Headers {
		if strings.ContainsAny(key+v, "\r\n") || key == "" {
			c.bad(under("headers", key), "header %q must have a name, and be one line", key)
		}
		headers[key] = v
	}
	h.headers, err = known.with(secrets(headers)).template(headers)
	c.expression(under("headers"), err)
	if h.Body != nil {
		h.body, err = known.with(secrets(h.Body)).template(h.Body)
		c.expression(under("body"), err)
	}
	for _, source := range h.sources() {
		for _, found := range secretPattern.FindAllStringSubmatch(source, -1) {
			h.secrets = append(h.secrets, found[1])
		}
	}
	if h.Expect != "" {
		h.expect, err = known.with(response).compile(h.Expect, kind{name: "boolean"})
		c.expression(under("expect"), err)
	}
}

var secretPattern = regexp.MustCompile(`\bsecrets\.([a-z][a-z0-9_]{0,39})\b`)

// secrets are the names of secrets that texts may refer to: which ones there are, the server's configuration says.
func secrets(v any) names {
	out := names{}
	for _, text := range texts(v) {
		for _, found := range secretPattern.FindAllString(text, -1) {
			out[found] = kind{name: "string"}
		}
	}
	return out
}

// texts returns the texts in a plain value.
func texts(v any) (list []string) {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		for _, item := range v {
			list = append(list, texts(item)...)
		}
	case map[string]any:
		for _, item := range v {
			list = append(list, texts(item)...)
		}
	}
	return list
}

// sources are the expressions of a request.
func (h *HTTP) sources() []string {
	return slices.Concat(h.url.sources(), h.headers.sources(), h.body.sources())
}

// sources are the expressions in a value. It may be called on nil.
func (v *value) sources() (list []string) {
	if v == nil {
		return nil
	}
	for _, p := range v.parts {
		if p.expression != nil {
			list = append(list, p.expression.source)
		}
	}
	for _, item := range v.list {
		list = append(list, item.sources()...)
	}
	for _, item := range v.keys {
		list = append(list, item.sources()...)
	}
	return list
}

func (c *check) approval(at []string, a *Approval, known names) {
	under := func(keys ...string) []string { return append(slices.Clone(at), keys...) }
	a.Count, a.Within = orDefault(a.Count, 1), orDefault(a.Within, DefaultWithin)
	for i, who := range a.From {
		if slices.Contains(a.From[:i], who) {
			c.bad(under("from"), "%s stands here twice", who)
		}
	}
	if a.Count < 1 || len(a.From) > 0 && a.Count > len(a.From) {
		c.bad(under("count"), "count is %d, and %d may approve", a.Count, len(a.From))
	}
	if a.Within < time.Minute || a.Within > 720*time.Hour {
		c.bad(under("within"), "within is %s, want 1m to 720h", a.Within)
	}
	var err error
	a.text, err = known.template(a.Text)
	c.expression(under("text"), err)
}
