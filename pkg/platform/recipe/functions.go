package recipe

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// forbidden are the functions of sprig that make the result depend on something other than the input: the clock, the
// network, this machine's environment, or randomness that no seed controls.
var forbidden = []string{
	"now", "date", "dateInZone", "date_in_zone", "dateModify", "date_modify", "mustDateModify", "must_date_modify",
	"ago", "htmlDate", "htmlDateInZone", "toDate", "mustToDate", "unixEpoch", "duration", "durationRound",
	"env", "expandenv", "getHostByName", "osBase", "osClean", "osDir", "osExt", "osIsAbs",
	"genPrivateKey", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert",
	"genSignedCertWithKey", "buildCustomCert", "derivePassword", "bcrypt", "htpasswd", "encryptAES", "decryptAES",
}

// functions returns what templates may call; random ones draw from the source.
func functions(random *source) template.FuncMap {
	all := sprig.TxtFuncMap()
	for _, name := range forbidden {
		delete(all, name)
	}
	all["encodeSecretRef"] = SecretRef
	all["keys"], all["values"] = sortedKeys, sortedValues
	all["regexMatch"] = matcher()
	all["seq"] = boundedSeq(all["seq"].(func(...int) string))
	maps.Copy(all, bounded)
	maps.Copy(all, random.functions())
	return all
}

// secretOpen and secretClose enclose a reference to a key of a Kubernetes Secret in an output, as score-k8s writes it.
const (
	secretOpen  = "🔐💬"
	secretClose = "💬🔐"
)

// SecretRef returns the text that stands in outputs for the value of a key in a Kubernetes Secret.
func SecretRef(name, key string) (string, error) {
	if name == "" || key == "" {
		return "", fmt.Errorf("encodeSecretRef needs the name of a Secret and a key, got %q and %q", name, key)
	}
	return secretOpen + name + "_" + key + secretClose, nil
}

// countLimit is the longest list and the deepest indentation that a template may ask for: their sizes often come from
// params, and an application must not take the memory of all.
const countLimit = 10_000

// bounded are the functions of sprig that make something as large as a number says.
var bounded = template.FuncMap{
	"until":     func(n int) ([]int, error) { return steps(0, n, cmp.Compare(n, 0)) },
	"untilStep": steps,
	"repeat": func(n int, s string) (string, error) {
		if n < 0 || n > outputLimit/max(1, len(s)) {
			return "", fmt.Errorf("repeat %d times gives more than %d bytes", n, outputLimit)
		}
		return strings.Repeat(s, n), nil
	},
	"indent":  indent,
	"nindent": func(n int, s string) (string, error) { s, err := indent(n, s); return "\n" + s, err },
}

// steps returns the numbers from start to before stop.
func steps(start, stop, step int) ([]int, error) {
	out := []int{}
	// As floating-point numbers they cannot wrap around.
	n := (float64(stop) - float64(start)) / float64(step)
	if step == 0 || n < 0 {
		return out, nil
	}
	if n > countLimit {
		return nil, fmt.Errorf("%.0f numbers asked for, the limit is %d", n, countLimit)
	}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		out = append(out, i)
	}
	return out, nil
}

// boundedSeq bounds sprig's seq, whose arguments are the last number, or the first, maybe the step, and the last.
func boundedSeq(seq func(...int) string) func(...int) (string, error) {
	return func(params ...int) (string, error) {
		n := 0.0
		switch len(params) {
		case 1:
			n = float64(params[0])
		case 2:
			n = float64(params[1]) - float64(params[0])
		case 3:
			n = (float64(params[2]) - float64(params[0])) / max(1, math.Abs(float64(params[1])))
		}
		if math.Abs(n) > countLimit {
			return "", fmt.Errorf("%.0f numbers asked for, the limit is %d", math.Abs(n), countLimit)
		}
		return seq(params...), nil
	}
}

func indent(n int, s string) (string, error) {
	if n < 0 || n > countLimit {
		return "", fmt.Errorf("an indentation of %d asked for, the limit is %d", n, countLimit)
	}
	blanks := strings.Repeat(" ", n)
	return blanks + strings.ReplaceAll(s, "\n", "\n"+blanks), nil
}

// expressionLimit is the number of regular expressions that one recipe keeps compiled: as many as a template has as
// constants. Those that a template makes of params are compiled each time.
const expressionLimit = 16

// matcher takes the place of sprig's regexMatch, which compiles its expression on every call and takes a wrong one for
// one that does not match.
func matcher() func(expression, text string) (bool, error) {
	compiled := map[string]*regexp.Regexp{}
	return func(expression, text string) (bool, error) {
		re, ok := compiled[expression]
		if !ok {
			var err error
			if re, err = regexp.Compile(expression); err != nil {
				return false, err
			}
			if len(compiled) < expressionLimit {
				compiled[expression] = re
			}
		}
		return re.MatchString(text), nil
	}
}

// sortedKeys takes sprig's place: sprig returns keys in the random order of Go's maps.
func sortedKeys(dictionaries ...map[string]any) []string {
	var keys []string
	for _, d := range dictionaries {
		keys = append(keys, slices.Sorted(maps.Keys(d))...)
	}
	return keys
}

func sortedValues(d map[string]any) []any {
	values := make([]any, 0, len(d))
	for _, k := range slices.Sorted(maps.Keys(d)) {
		values = append(values, d[k])
	}
	return values
}

// Piece is a piece of an output's text: plain text, or a reference to a key of a Secret if Secret is not empty.
type Piece struct {
	Text, Secret, Key string
}

// SplitSecrets cuts a text at the references that [SecretRef] writes. Names of Secrets have no underscore.
func SplitSecrets(s string) []Piece {
	var out []Piece
	for s != "" {
		before, rest, opened := strings.Cut(s, secretOpen)
		inside, after, closed := strings.Cut(rest, secretClose)
		name, key, whole := strings.Cut(inside, "_")
		if !opened || !closed || !whole {
			return append(out, Piece{Text: s})
		}
		if before != "" {
			out = append(out, Piece{Text: before})
		}
		out = append(out, Piece{Secret: name, Key: key})
		s = after
	}
	return out
}
