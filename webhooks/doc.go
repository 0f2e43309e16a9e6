// Package webhooks receives what forges send: it verifies, remembers and answers fast.
//
// A webhook is only a hint that wakes: whatever its payload says, the repository is looked at, and the remote's refs are
// the truth. So a lost, late, repeated or reordered delivery needs no care. The forge and its secret are fixed by the
// address of the hook, never guessed from headers.
package webhooks
