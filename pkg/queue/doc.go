// Package queue runs jobs out of Postgres: durably, one at a time per key, newest first where generations say so.
//
// A job has a kind (which handler), a key (what it is about: "shop/prod") and arguments. What holds:
//
//   - A job that was committed runs, whatever dies. A job runs at least once; effects must bear being repeated.
//   - Never two workers on one key: a unique index holds it, across processes.
//   - Jobs of one key run in the order of their enqueueing. With generations the newest wins: a newer one replaces those
//     of its key and kind that wait, and tells the one that runs.
//   - A worker holds a lease that it renews. One that crashed, hung or lost the database is replaced when others have seen
//     no renewal for as long as the lease lasts; if it wakes up later, its token is too old and its writes are refused.
//   - Failures are tried again by their fault's class, with jittered back-off, and end in job_history with all attempts.
//
// # Fencing effects
//
// The lease protects the queue's own rows. A row that a handler writes is protected by carrying the token:
//
//	UPDATE releases SET …, token = $t WHERE id = $1 AND token <= $t
//
// No row means that a later worker was there: stop. Children of a worker (terraform, git) are not stopped by the fence:
// start them with a parent-death signal, and make what they do repeatable.
//
// # States
//
//	enqueue ──> blocked ──promote──> ready ──claim──> running ──> done | dead | superseded | cancelled
//	      '───────────────────────────^ ^                 |
//	                                    '─ retry, snooze, release, lease expired
//
// What waits, blocked or ready, may be superseded or cancelled as well.
//
// The package does not know what jobs do. By itself it enqueues only what [Queue.Every] asks for, and its own maintenance.
package queue
