// Package graph is the machine of a run's steps: which states a step has, which may run now, and what follows for those
// that hold others. It is pure: it knows neither what steps do nor where they are stored.
package graph
