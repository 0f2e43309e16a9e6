package score

import (
	"encoding/base64"
	"strings"
)

// format is what a string must look like: the patterns of the schema as functions, because the regular expressions
// with counted repeats cost more than reading the whole file. Tests hold them equal to the schema's expressions.
type format struct {
	// what completes "must be …".
	what string
	// example is a valid value.
	example string
	ok      func(string) bool
}

// The lengths of the specification count characters; all patterns that have one allow ASCII only.
const (
	minName       = 2
	maxName       = 63
	maxAnnotation = 316
)

var (
	labelFormat = format{
		what:    "2 to 63 small letters, digits and hyphens, without a hyphen at either end",
		example: "my-name", ok: isLabel,
	}
	typeFormat = format{
		what:    "2 to 63 letters, digits and hyphens, without a hyphen at either end",
		example: "postgres", ok: isType,
	}
	idFormat = format{
		what:    "2 to 63 small letters, digits, hyphens and dots, where each part between dots begins and ends with a letter or digit",
		example: "shared.main-db", ok: isID,
	}
	annotationFormat = format{
		what:    "a name of 2 to 63 letters, digits, dots, hyphens and underscores, optionally after a DNS name and a slash",
		example: "example.com/my-name", ok: isAnnotation,
	}
	variableFormat = format{what: "a name without an equals sign", example: "MY_NAME", ok: isVariable}
	headerFormat   = format{what: "letters, digits, hyphens and underscores", example: "X-Name", ok: isHeader}
	modeFormat     = format{what: "three octal digits, optionally after a 0", example: "0644", ok: isMode}
	memoryFormat   = format{
		what:    "an amount of bytes with an optional unit of K, M, G, T, P, E, Ki, Mi, Gi, Ti, Pi, Ei",
		example: "512Mi", ok: isMemory,
	}
	cpuFormat     = format{what: "a number of CPUs, or of thousandths with m behind it", example: "250m", ok: isCPU}
	versionFormat = format{what: "score.dev/v1b1", example: "score.dev/v1b1", ok: func(s string) bool { return s == version }}
	filled        = format{what: "not empty", ok: func(s string) bool { return s != "" }}
)

// version is the one apiVersion there is.
const version = "score.dev/v1b1"

func isLower(c byte) bool { return 'a' <= c && c <= 'z' || isDigit(c) }
func isDigit(c byte) bool { return '0' <= c && c <= '9' }
func isAlnum(c byte) bool { return isLower(c) || 'A' <= c && c <= 'Z' }

// every says whether all bytes of s are allowed.
func every(s string, allowed func(byte) bool) bool {
	for i := range len(s) {
		if !allowed(s[i]) {
			return false
		}
	}
	return true
}

// named says whether s has 2 to 63 characters, the first and last of edge, the others of inner.
func named(s string, edge, inner func(byte) bool) bool {
	return len(s) >= minName && len(s) <= maxName && edge(s[0]) && edge(s[len(s)-1]) && every(s[1:len(s)-1], inner)
}

func isLabel(s string) bool {
	return named(s, isLower, func(c byte) bool { return isLower(c) || c == '-' })
}

func isType(s string) bool {
	return named(s, isAlnum, func(c byte) bool { return isAlnum(c) || c == '-' })
}

func isID(s string) bool {
	if len(s) < minName || len(s) > maxName {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if part == "" || !isLower(part[0]) || !isLower(part[len(part)-1]) ||
			!every(part, func(c byte) bool { return isLower(c) || c == '-' }) {
			return false
		}
	}
	return true
}

func isAnnotation(s string) bool {
	if len(s) > maxAnnotation {
		return false
	}
	prefix, name, found := strings.Cut(s, "/")
	if !found {
		prefix, name = "", s
	}
	if found {
		for part := range strings.SplitSeq(prefix, ".") {
			if !isLabel(part) {
				return false
			}
		}
	}
	return named(name, isAlnum, func(c byte) bool { return isAlnum(c) || c == '.' || c == '_' || c == '-' })
}

func isVariable(s string) bool { return s != "" && strings.IndexByte(s, '=') < 0 }

func isHeader(s string) bool {
	return s != "" && every(s, func(c byte) bool { return isAlnum(c) || c == '-' || c == '_' })
}

func isMode(s string) bool {
	if len(s) == 4 && s[0] == '0' {
		s = s[1:]
	}
	return len(s) == 3 && every(s, func(c byte) bool { return '0' <= c && c <= '7' })
}

func isMemory(s string) bool {
	s, binary := strings.CutSuffix(s, "i")
	if s != "" && strings.IndexByte("KMGTPE", s[len(s)-1]) >= 0 {
		s = s[:len(s)-1]
	} else if binary {
		return false
	}
	number, fraction, dotted := strings.Cut(s, ".")
	if number == "" || !every(number, isDigit) || dotted && (fraction == "" || !every(fraction, isDigit)) {
		return false
	}
	return number[0] != '0' || number == "0" && dotted
}

func isCPU(s string) bool {
	s, milli := strings.CutSuffix(s, "m")
	number, fraction, dotted := strings.Cut(s, ".")
	if number == "" || !every(number, isDigit) {
		return false
	}
	return !dotted || !milli && fraction != "" && every(fraction, isDigit)
}

// isBase64 says whether s is base64 in the standard alphabet, with line breaks where a block scalar has some.
func isBase64(s string) bool {
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}
