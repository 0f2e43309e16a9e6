package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/innominatus/reconciler/pkg/secret"
)

func newKeyring(t *testing.T, fill ...byte) *secret.Keyring {
	t.Helper()
	var keys [][]byte
	for _, b := range fill {
		keys = append(keys, bytes.Repeat([]byte{b}, secret.KeySize))
	}
	ring, err := secret.NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestSealedValueOpensOnlyWithItsContextAndKey(t *testing.T) {
	ring := newKeyring(t, 1)
	sealed := ring.Seal([]byte("hunter2hunter2"), "resources/db")
	if bytes.Contains(sealed, []byte("hunter2")) {
		t.Fatal("the sealed form holds the plain value")
	}
	plain, err := ring.Open(sealed, "resources/db")
	if err != nil || string(plain) != "hunter2hunter2" {
		t.Fatalf("got %q, %v", plain, err)
	}
	if _, err := ring.Open(sealed, "resources/other"); err == nil {
		t.Error("opened with another context")
	}
	if _, err := newKeyring(t, 2).Open(sealed, "resources/db"); err == nil {
		t.Error("opened with another key")
	}
	if _, err := ring.Open(sealed[:5], "resources/db"); err == nil {
		t.Error("opened a torn value")
	}
}

func TestRotationKeepsOldValuesReadableAndDerivedOnesStable(t *testing.T) {
	before, after := newKeyring(t, 1), newKeyring(t, 2, 1)
	if plain, err := after.Open(before.Seal([]byte("old"), "c"), "c"); err != nil || string(plain) != "old" {
		t.Errorf("got %q, %v", plain, err)
	}
	if before.Fingerprint("v") != after.Fingerprint("v") || !bytes.Equal(before.Derive("p"), after.Derive("p")) {
		t.Error("rotation changed fingerprints or derived values")
	}
}

func TestKeyFileIsMadeOnceAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "key")
	if _, err := secret.LoadKeyring(path, false); err == nil {
		t.Fatal("made a key that nobody asked for")
	}
	first, err := secret.LoadKeyring(path, true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := secret.LoadKeyring(path, true)
	if err != nil || first.Fingerprint("v") != second.Fingerprint("v") {
		t.Errorf("the second start made another key: %v", err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestRedactsEveryFormOfAKnownValue(t *testing.T) {
	value := "p@ss\"wörd/<123>"
	var r secret.Redactor
	r.Add(value, "abc")
	quoted, _ := json.Marshal(value)
	for _, text := range []string{
		value, url.QueryEscape(value), url.PathEscape(value), string(quoted),
		base64.StdEncoding.EncodeToString([]byte(value)),
		base64.StdEncoding.EncodeToString([]byte("x:" + value + " tail")),
		base64.URLEncoding.EncodeToString([]byte("u:" + value)),
		"postgres://u:" + value + "@h/db",
	} {
		if got := r.Redact("before " + text + " after"); !strings.Contains(got, secret.Mask) || strings.Contains(got, text) {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := r.Redact("the abc of it"); got != "the abc of it" {
		t.Errorf("a short value was redacted: %q", got)
	}
	var out bytes.Buffer
	if n, err := r.Writer(&out).Write([]byte("x " + value)); n != 2+len(value) || err != nil || strings.Contains(out.String(), value) {
		t.Errorf("writer: %d %v %q", n, err, out.String())
	}
}

func TestProcessesThatStartAtOnceShareOneKey(t *testing.T) {
	t.Parallel()
	for range 50 {
		dir := t.TempDir()
		path := filepath.Join(dir, "key")
		var all sync.WaitGroup
		prints := make([]string, 8)
		for i := range prints {
			all.Go(func() {
				ring, err := secret.LoadKeyring(path, true)
				if err != nil {
					t.Error(err)
					return
				}
				prints[i] = ring.Fingerprint("v")
			})
		}
		all.Wait()
		for _, p := range prints {
			if p != prints[0] {
				t.Fatal("two keys")
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Fatalf("left behind: %v, %v", left, err)
		}
	}
}

func TestRedactsTheLinesOfAKeyOneByOne(t *testing.T) {
	t.Parallel()
	var r secret.Redactor
	r.Add("-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\nAgEGCCqGSM49AwEHBG0w\nshort\n-----END PRIVATE KEY-----\n")
	for text, want := range map[string]string{
		"a AgEGCCqGSM49AwEHBG0w b":                                       "a (secret) b",
		"-----BEGIN PRIVATE KEY----- MIGHAgEAMBMGByqGSM49 short":         "-----BEGIN PRIVATE KEY----- (secret) short",
		"nothing of it: -----BEGIN PRIVATE KEY----- is how a key begins": "nothing of it: -----BEGIN PRIVATE KEY----- is how a key begins",
	} {
		if got := r.Redact(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
}

func TestWhatRunsHandleIsForgottenAfterADay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var r secret.Redactor
		r.Add("for-good-one", "first-noted-then-added")
		r.Note("handled-once", "handled-again", "for-good-one", "added-in-the-end")
		r.Add("added-in-the-end")
		all := "for-good-one first-noted-then-added handled-once handled-again added-in-the-end"
		if got := r.Redact(all); got != "(secret) (secret) (secret) (secret) (secret)" {
			t.Errorf("at first: %s", got)
		}
		<-time.After(20 * time.Hour)
		r.Note("handled-again")
		<-time.After(20 * time.Hour)
		r.Note("another-one")
		if got := r.Redact(all); got != "(secret) (secret) handled-once (secret) (secret)" {
			t.Errorf("later: %s", got)
		}
	})
}
