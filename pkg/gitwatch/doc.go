// Package gitwatch looks at repositories: when to ask which remote, what its refs are, and which pull requests are open.
//
// The truth are the remote's refs; a webhook only makes us look sooner. What was seen is stored, and whoever has to act
// on it gets a job in the same transaction. Every look at a repository is one job with the repository as its key, so
// that replicas share the work without a leader. What a commit means is decided in pkg/reconcile.
package gitwatch
