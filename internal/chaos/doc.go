// Package chaos holds the chaos test: three server processes on one database and one Gitea, 200 applications, people who
// commit, revert, merge, hold and confirm, and faults of every kind meanwhile. In the end everything heals, and a checker
// that shares no code with the product (package check) reads the effects and says whether every promise was kept.
//
// It runs with `make chaos SEED=n DURATION=t`, behind the build tag chaos. The seed decides what is done to whom and when;
// how the machine's processes interleave meanwhile it cannot decide. FAULTS=none leaves the faults out. docs/reliability.md
// says more.
package chaos
