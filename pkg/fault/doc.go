// Package fault is the one form in which the reconciler tells a person that something is wrong.
//
// A [Fault] has a code from the catalogue, a place (file:line:column where there is one), what to do about it, and a
// link to its page. Its class decides in one place what happens next: a permanent fault is reported and not tried
// again, a retryable one is, a conflict leads to a new look at the world, and a refused one waits for a person.
//
// The package knows nothing about Score, Git or Postgres: rooms add their codes to the catalogue and make faults.
package fault
