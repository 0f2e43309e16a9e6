// Package apply executes runs: the way of a release into its target as a graph of steps, each with a checkpoint, so that
// a run goes on where it was whatever dies; the golden path around it, with approvals, pauses and compensation; rollback to
// the last good release when a run fails for good; and holds. Package graph below it decides which steps may begin.
//
// A run is one job of the queue. Its worker's lease gives a fencing token, and every row that the run writes is written
// only while the token is the run's newest. Targets live below this package, one package each. What is planned is
// decided elsewhere; this package applies releases as they are stored.
package apply
