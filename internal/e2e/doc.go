// Package e2e holds the end-to-end tests: the real binary as a process of its own, a real Gitea, a real Postgres, real
// Git. They run with `make e2e`, behind the build tag e2e; `RUN=regex` chooses.
package e2e
