//go:build !race

package gitrepo

// raced: see race_test.go.
const raced = false
