package score

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// resolvePlain says what an unquoted scalar means: its kind and the text of a [Node]. It follows the YAML library
// that Score's own tools use: YAML 1.2 words for booleans and null (yes and on are strings), numbers with a 0x, 0o, 0b
// or 0 in front and with underscores. Unlike that library, a date is a string, for JSON has no dates.
func resolvePlain(s string) (Kind, string) {
	if s == "" {
		return Null, ""
	}
	switch c := s[0]; {
	case c == '~' || c == 'n' || c == 'N' || c == 't' || c == 'T' || c == 'f' || c == 'F':
		return resolveWord(s)
	case c == '.':
		switch s {
		case ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF":
			return Float, strings.ToLower(s)
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return Float, floatText(f)
		}
	case '0' <= c && c <= '9' || c == '+' || c == '-':
		return resolveNumber(s)
	}
	return String, s
}

func resolveWord(s string) (Kind, string) {
	switch s {
	case "~", "null", "Null", "NULL":
		return Null, ""
	case "true", "True", "TRUE":
		return Bool, "true"
	case "false", "False", "FALSE":
		return Bool, "false"
	}
	return String, s
}

func resolveNumber(s string) (Kind, string) {
	switch s {
	case "+.inf", "+.Inf", "+.INF":
		return Float, ".inf"
	case "-.inf", "-.Inf", "-.INF":
		return Float, "-.inf"
	case "-0", "-0.0":
		return Float, "-0"
	}
	if last := s[len(s)-1]; last > 'f' || last == '/' || last == ':' {
		return String, s // no number ends like that; most text that begins with a digit leaves here
	}
	plain := s
	if strings.IndexByte(s, '_') >= 0 {
		plain = strings.ReplaceAll(s, "_", "")
	}
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return Int, strconv.FormatInt(i, 10)
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(plain, "+"), 0, 64); err == nil {
		return Int, strconv.FormatUint(u, 10)
	}
	if isDecimal(plain) {
		if f, err := strconv.ParseFloat(plain, 64); err == nil {
			return Float, floatText(f)
		}
	}
	return String, s
}

// isDecimal says whether s is a decimal number with an optional fraction and exponent, the only notation for floats.
func isDecimal(s string) bool {
	s = strings.TrimLeft(s[:1], "+-") + s[1:]
	whole := digits(s)
	s = s[whole:]
	if strings.HasPrefix(s, ".") {
		fraction := digits(s[1:])
		if whole == 0 && fraction == 0 {
			return false
		}
		s = s[1+fraction:]
	} else if whole == 0 {
		return false
	}
	if s == "" {
		return true
	}
	if s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = s[1:]
	if s != "" && (s[0] == '+' || s[0] == '-') {
		s = s[1:]
	}
	return s != "" && digits(s) == len(s)
}

// digits returns how many decimal digits s begins with.
func digits(s string) int {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return i
		}
	}
	return len(s)
}

// floatText writes a number as JSON does.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	case math.IsNaN(f):
		return ".nan"
	}
	out, err := json.Marshal(f)
	if err != nil {
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return string(out)
}

// integer returns a number's value if it is whole: 8080.0 is an integer in JSON schema.
func (n *Node) integer() (int, bool) {
	if n == nil || (n.Kind != Int && n.Kind != Float) {
		return 0, false
	}
	if i, err := strconv.Atoi(n.Text); err == nil {
		return i, true
	}
	f, err := strconv.ParseFloat(n.Text, 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, err == nil && f == math.Trunc(f)
	}
	return int(f), true
}
