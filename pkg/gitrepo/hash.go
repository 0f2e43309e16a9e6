package gitrepo

import (
	"crypto"
	"encoding/hex"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing/hash"
)

// Hash names an object: 40 lower-case hexadecimal digits. "" is no object.
type Hash string

// hashBytes is the length of a SHA-1 in bytes.
const hashBytes = 20

// oid is a Hash as Git stores it.
type oid [hashBytes]byte

// ParseHash reads 40 lower-case hexadecimal digits. Forty zeros, Git's way to say "none", give "".
func ParseHash(s string) (Hash, error) {
	id, ok := Hash(s).oid()
	if !ok {
		return "", fmt.Errorf("%.60q is not 40 lower-case hexadecimal digits", s)
	}
	return id.hash(), nil
}

func (h Hash) oid() (id oid, ok bool) {
	if len(h) != 2*hashBytes {
		return id, false
	}
	for i := range len(h) {
		if c := h[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return id, false
		}
	}
	_, err := hex.Decode(id[:], []byte(h))
	return id, err == nil
}

// wire returns the hash as the protocol writes it: zeros for none.
func (h Hash) wire() string {
	if h == "" {
		return hex.EncodeToString(make([]byte, hashBytes))
	}
	return string(h)
}

func (id oid) hash() Hash {
	if id == (oid{}) {
		return ""
	}
	return Hash(hex.EncodeToString(id[:]))
}

// kind is the type of an object as packs number it.
type kind byte

const (
	kindCommit   kind = 1
	kindTree     kind = 2
	kindBlob     kind = 3
	kindTag      kind = 4
	kindOfsDelta kind = 6
	kindRefDelta kind = 7
)

func (k kind) String() string {
	switch k {
	case kindCommit:
		return "commit"
	case kindTree:
		return "tree"
	case kindBlob:
		return "blob"
	case kindTag:
		return "tag"
	default:
		return fmt.Sprintf("kind %d", byte(k))
	}
}

// object is an object's content with its type.
type object struct {
	kind kind
	data []byte
}

func (o object) id() oid {
	h := newObjectHash(o.kind, int64(len(o.data)))
	h.Write(o.data)
	return oid(h.Sum(nil))
}

// newObjectHash starts the hash of an object. The implementation notices the known collision attacks on SHA-1.
func newObjectHash(k kind, size int64) hash.Hash {
	h := hash.New(crypto.SHA1)
	fmt.Fprintf(h, "%s %d\x00", k, size)
	return h
}
