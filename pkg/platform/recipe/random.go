package recipe

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"text/template"
)

// source gives random values from a seed.
type source struct {
	stream *rand.ChaCha8
}

// start begins anew with values that depend on the seed alone. ChaCha8 is a stream cipher: who knows values but not the
// seed cannot tell others.
func (s *source) start(seed [32]byte) { s.stream = rand.NewChaCha8(seed) }

const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	// ascii is every printable character of ASCII.
	ascii = " !\"#$%&'()*+,-./" + digits + ":;<=>?@[\\]^_`{|}~" + letters
	// drawLimit is the longest random value, in characters: a template that asks for more is a mistake.
	drawLimit = 4096
)

func (s *source) functions() template.FuncMap {
	return template.FuncMap{
		"randAlphaNum": s.text(letters + digits),
		"randAlpha":    s.text(letters),
		"randNumeric":  s.text(digits),
		"randAscii":    s.text(ascii),
		"randBytes":    s.bytes,
		"randInt":      s.between,
		"uuidv4":       s.uuid,
		"shuffle":      s.shuffle,
	}
}

func (s *source) text(alphabet string) func(int) (string, error) {
	return func(n int) (string, error) {
		if n < 0 || n > drawLimit {
			return "", fmt.Errorf("%d random characters asked for, the limit is %d", n, drawLimit)
		}
		out := make([]byte, n)
		for i := range out {
			out[i] = alphabet[s.below(uint64(len(alphabet)))]
		}
		return string(out), nil
	}
}

func (s *source) bytes(n int) (string, error) {
	if n < 0 || n > drawLimit {
		return "", fmt.Errorf("%d random bytes asked for, the limit is %d", n, drawLimit)
	}
	out := make([]byte, n)
	_, _ = s.stream.Read(out) // never fails
	return base64.StdEncoding.EncodeToString(out), nil
}

func (s *source) between(low, high int) (int, error) {
	if high <= low {
		return 0, fmt.Errorf("randInt needs two growing numbers, got %d and %d", low, high)
	}
	return low + int(s.below(uint64(high-low))), nil
}

func (s *source) uuid() string {
	var b [16]byte
	_, _ = s.stream.Read(b[:]) // never fails
	return UUID(b)
}

func (s *source) shuffle(text string) string {
	runes := []rune(text)
	for i := len(runes) - 1; i > 0; i-- {
		j := s.below(uint64(i + 1))
		runes[i], runes[j] = runes[j], runes[i]
	}
	return string(runes)
}

// below returns a number in [0, n) without the bias of a plain remainder.
func (s *source) below(n uint64) uint64 {
	for limit := -n % n; ; {
		if v := s.stream.Uint64(); v >= limit {
			return v % n
		}
	}
}

// UUID returns 16 random bytes in the form of a version 4 UUID (RFC 9562).
func UUID(b [16]byte) string {
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
