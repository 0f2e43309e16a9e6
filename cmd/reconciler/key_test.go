package main

import (
	"bytes"
	"testing"

	"github.com/innominatus/reconciler/internal/testenv"
	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/secret"
)

func TestAnotherKeyThanTheDatabasesIsRefused(t *testing.T) {
	t.Parallel()
	ring := func(keys ...byte) *secret.Keyring {
		var list [][]byte
		for _, k := range keys {
			list = append(list, bytes.Repeat([]byte{k}, secret.KeySize))
		}
		r, err := secret.NewKeyring(list...)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	a := &app{cfg: &config{KeyFile: "keys"}, pool: testenv.Pool(t)}
	for _, keys := range []*secret.Keyring{ring(1), ring(1), ring(2, 1)} { // a new key goes before the old one
		if err := a.sameKey(t.Context(), keys); err != nil {
			t.Error(err)
		}
	}
	for _, keys := range []*secret.Keyring{ring(3), ring(2)} { // another one, and the first one taken out
		if f, ok := fault.As(a.sameKey(t.Context(), keys)); !ok || f.Code != fault.KeyOther {
			t.Errorf("it answers %v", f)
		}
	}
}
