package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeySize is the length of a key in bytes (AES-256).
const KeySize = 32

// idSize is how many bytes of a key's digest stand before each sealed value, to find the key again after a rotation.
const idSize = 8

// ErrUnknownKey says that a value was sealed with a key that the keyring does not hold.
var ErrUnknownKey = errors.New("sealed with a key that is not in the key file")

// Keyring seals and opens values. Its first key seals; the others only open what was sealed before a rotation.
// It is safe for concurrent use.
type Keyring struct {
	keys []key
}

type key struct {
	id    [idSize]byte
	aead  cipher.AEAD
	bytes []byte
}

// NewKeyring makes a keyring of one or more keys of [KeySize] bytes, the sealing one first.
func NewKeyring(keys ...[]byte) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("a keyring needs at least one key")
	}
	ring := &Keyring{}
	for i, k := range keys {
		if len(k) != KeySize {
			return nil, fmt.Errorf("key %d has %d bytes, want %d", i+1, len(k), KeySize)
		}
		block, err := aes.NewCipher(k)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("key %d: %w", i+1, err)
		}
		digest := sha256.Sum256(append([]byte("reconciler key id\x00"), k...))
		ring.keys = append(ring.keys, key{id: [idSize]byte(digest[:idSize]), aead: aead, bytes: k})
	}
	return ring, nil
}

// LoadKeyring reads a key file: one base64 key per line, the sealing one first, # begins a comment. If the file does
// not exist and create is set, it is made with a new key, readable by its owner alone.
func LoadKeyring(path string, create bool) (*Keyring, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		text, err = createKeyFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	var keys [][]byte
	for number, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("key file %s, line %d: not base64", path, number+1)
		}
		keys = append(keys, k)
	}
	ring, err := NewKeyring(keys...)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return ring, nil
}

func createKeyFile(path string) ([]byte, error) {
	k := make([]byte, KeySize)
	rand.Read(k)
	text := []byte(base64.StdEncoding.EncodeToString(k) + "\n")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// Two processes that start at once must not seal with different keys, and one that dies half way must not leave half a
	// key: the file gets its name whole, and only the first one gets it.
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // What counts has another name by then.
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return os.ReadFile(path)
	}
	return text, err
}

// Seal encrypts plain and binds it to a context, for example the row that it is stored in: it opens only with the
// same context, so that a sealed value copied elsewhere is useless.
func (r *Keyring) Seal(plain []byte, context string) []byte {
	k := r.keys[0]
	nonce := make([]byte, k.aead.NonceSize())
	rand.Read(nonce)
	out := append(k.id[:], nonce...)
	return k.aead.Seal(out, nonce, plain, []byte(context))
}

// Open decrypts what Seal made with the same context.
func (r *Keyring) Open(sealed []byte, context string) ([]byte, error) {
	for _, k := range r.keys {
		n := idSize + k.aead.NonceSize()
		if len(sealed) < n || !hmac.Equal(sealed[:idSize], k.id[:]) {
			continue
		}
		plain, err := k.aead.Open(nil, sealed[idSize:n], sealed[n:], []byte(context))
		if err != nil {
			return nil, fmt.Errorf("open sealed value of %s: %w", context, err)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("open sealed value of %s: %w", context, ErrUnknownKey)
}

// Fingerprint returns 32 hexadecimal digits that are equal for equal values and tell nothing about them without the
// key: what plans and releases hold in place of a secret value. A rotation of the sealing key changes fingerprints, so
// the oldest key makes them.
func (r *Keyring) Fingerprint(value string) string {
	mac := hmac.New(sha256.New, r.Derive("fingerprint"))
	mac.Write([]byte(value))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Derive returns [KeySize] bytes that depend on the keyring's oldest key and on the purpose alone: the seed of values
// that are generated once and must be the same each time they are planned.
func (r *Keyring) Derive(purpose string) []byte {
	out, err := hkdf.Key(sha256.New, r.keys[len(r.keys)-1].bytes, nil, "reconciler "+purpose, KeySize)
	if err != nil {
		panic(err) // only for lengths that HKDF cannot give; KeySize is constant
	}
	return out
}
