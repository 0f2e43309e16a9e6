//go:build race

package gitrepo

// raced: the race detector is on, which makes hashing and inflating twenty times as slow.
const raced = true
