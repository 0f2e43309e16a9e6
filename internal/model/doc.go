// Package model holds a checked model of how a release reaches its target: the lease of its job, the fence of its run, and
// the effect outside. Its tests walk through every interleaving of two workers, a reaper, people who release, and a network
// that delays; they show that the promises hold, and that each of the guards is needed for them. docs/reliability.md tells
// what is modelled and what was found.
package model
