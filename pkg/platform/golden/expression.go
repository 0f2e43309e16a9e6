package golden

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"

	"github.com/innominatus/reconciler/pkg/fault"
)

const (
	// costLimit bounds one evaluation, in CEL's units of cost: about 10 ms of CPU.
	costLimit = 1_000_000
	// sourceLimit bounds the text of an expression, in bytes.
	sourceLimit = 4096
)

// expression is a compiled one.
type expression struct {
	source  string
	program cel.Program
	kind    kind
}

// names are the variables that an expression may refer to, with their kinds.
type names map[string]kind

// with returns the names with more of them.
func (n names) with(more names) names {
	out := maps.Clone(n)
	maps.Copy(out, more)
	return out
}

// compile checks an expression. want is what it must give.
func (n names) compile(source string, want kind) (*expression, error) {
	if len(source) > sourceLimit {
		return nil, fmt.Errorf("the expression has %d bytes, more than the limit of %d", len(source), sourceLimit)
	}
	options := []cel.EnvOption{ext.Strings(), ext.Lists()}
	for _, name := range slices.Sorted(maps.Keys(n)) {
		options = append(options, cel.Variable(name, n[name].cel()))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, fmt.Errorf("prepare the expression: %w", err)
	}
	tree, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, n.explain(source, issues)
	}
	got := kindOf(tree.OutputType())
	if !want.takes(got) {
		return nil, fmt.Errorf("the expression gives %s, want %s", got, want)
	}
	program, err := env.Program(tree, cel.CostLimit(costLimit))
	if err != nil {
		return nil, fmt.Errorf("prepare the expression: %w", err)
	}
	return &expression{source: source, program: program, kind: got}, nil
}

var reference = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*`)

// explain says the first thing that is wrong with an expression, with the name that was probably meant.
func (n names) explain(source string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	if !strings.Contains(first.Message, "undeclared reference") {
		return fmt.Errorf("column %d: %s", first.Location.Column()+1, first.Message)
	}
	known := slices.Sorted(maps.Keys(n))
	for _, word := range reference.FindAllString(source, -1) {
		// CEL tells the name up to the first dot; people know the whole one.
		missing := fmt.Sprintf("'%s'", strings.SplitN(word, ".", 2)[0])
		if !strings.Contains(first.Message, missing) || n.has(word) {
			continue
		}
		f := fault.New(fault.PathExpression, "there is no %s here", word)
		if near := fault.Nearest(word, known); near != "" {
			f.Suggest(near)
		} else {
			f.Do("Known here: %s. Outputs of a step are known to those that need it.", strings.Join(known, ", "))
		}
		return f
	}
	return fmt.Errorf("column %d: %s", first.Location.Column()+1, first.Message)
}

// has says whether a word is a name, or a part of what one holds.
func (n names) has(word string) bool {
	for name := range n {
		if word == name || strings.HasPrefix(word, name+".") {
			return true
		}
	}
	return false
}

// evaluate returns a plain value of the expression's kind.
func (e *expression) evaluate(values map[string]any) (any, error) {
	out, _, err := e.program.Eval(values)
	if err != nil {
		return nil, fault.New(fault.PathValue, "%s: %w", e.source, err)
	}
	v, err := native(out)
	if err != nil {
		return nil, fault.New(fault.PathValue, "%s: %w", e.source, err)
	}
	return v, nil
}

// value is something with expressions in it: a text with ${…}, a list or a map of values, or a constant.
type value struct {
	// fixed says that it is the constant.
	fixed    bool
	constant any
	// parts of a text; one expression alone keeps its kind.
	parts []part
	list  []*value
	keys  map[string]*value
	// quote makes parts fit to stand in a URL.
	quote bool
}

type part struct {
	text       string
	expression *expression
}

// template compiles what may hold ${…}. $${ stands for ${.
func (n names) template(v any) (*value, error) {
	switch v := v.(type) {
	case string:
		parts, err := n.parts(v)
		return &value{parts: parts}, err
	case []any:
		out := &value{list: make([]*value, len(v))}
		for i := range v {
			var err error
			if out.list[i], err = n.template(v[i]); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		out := &value{keys: make(map[string]*value, len(v))}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			var err error
			if out.keys[key], err = n.template(v[key]); err != nil {
				return nil, err
			}
		}
		return out, nil
	default:
		return &value{fixed: true, constant: plain(v)}, nil
	}
}

func (n names) parts(text string) (parts []part, err error) {
	for {
		before, rest, found := strings.Cut(text, "${")
		if escaped, yes := strings.CutSuffix(before, "$"); found && yes {
			parts, text = append(parts, part{text: escaped + "${"}), rest
			continue
		}
		if before != "" {
			parts = append(parts, part{text: before})
		}
		if !found {
			return parts, nil
		}
		source, after, closed := closing(rest)
		if !closed {
			return nil, fmt.Errorf("${ without its closing brace in %q", text)
		}
		e, err := n.compile(source, anything)
		if err != nil {
			return nil, err
		}
		parts, text = append(parts, part{expression: e}), after
	}
}

// closing divides a text at the brace that closes an expression: not one in a text of its own, or of a map.
func closing(text string) (before, after string, found bool) {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case c == '}':
			return text[:i], text[i+1:], true
		}
	}
	return "", "", false
}

// kind is what a value gives, as far as it is known.
func (v *value) kind() kind {
	switch {
	case v.list != nil:
		return kind{name: "array"}
	case v.keys != nil:
		return kind{name: "object"}
	case len(v.parts) == 1 && v.parts[0].expression != nil:
		return v.parts[0].expression.kind
	case v.fixed && v.constant == nil:
		return anything
	case v.fixed:
		return kind{name: describe(v.constant)}
	default:
		return kind{name: "string"}
	}
}

// evaluate fills in the expressions.
func (v *value) evaluate(values map[string]any) (any, error) {
	switch {
	case v.list != nil:
		out := make([]any, len(v.list))
		for i, item := range v.list {
			var err error
			if out[i], err = item.evaluate(values); err != nil {
				return nil, err
			}
		}
		return out, nil
	case v.keys != nil:
		out := make(map[string]any, len(v.keys))
		for key, item := range v.keys {
			var err error
			if out[key], err = item.evaluate(values); err != nil {
				return nil, err
			}
		}
		return out, nil
	case v.fixed:
		return v.constant, nil
	case len(v.parts) == 1 && v.parts[0].expression != nil && !v.quote:
		return v.parts[0].expression.evaluate(values)
	default:
		return v.join(values)
	}
}

func (v *value) join(values map[string]any) (string, error) {
	var b strings.Builder
	for _, p := range v.parts {
		if p.expression == nil {
			b.WriteString(p.text)
			continue
		}
		got, err := p.expression.evaluate(values)
		if err != nil {
			return "", err
		}
		text, err := write(got)
		if err != nil {
			return "", fault.New(fault.PathValue, "%s: %w", p.expression.source, err)
		}
		if v.quote {
			if text, err = quoted(b.String(), text); err != nil {
				return "", fault.New(fault.PathValue, "%s: %w", p.expression.source, err)
			}
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// quoted makes a text fit to stand in a URL after what is before it: it stays one segment of the path, or one value of the
// query.
func quoted(before, text string) (string, error) {
	if strings.Contains(before, "?") {
		return url.QueryEscape(text), nil
	}
	if text == "." || text == ".." {
		return "", fmt.Errorf("%q cannot stand in the path of a URL", text)
	}
	return url.PathEscape(text), nil
}

// write returns a value as it stands in a text.
func write(v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case int64, float64, bool:
		return fmt.Sprint(v), nil
	default:
		return "", fmt.Errorf("%s cannot stand inside of a text", describe(v))
	}
}
