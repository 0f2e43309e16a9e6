// Package demo walks the story of the product on real parts: a Git server over HTTP with the example repositories, the
// reconciler's own binary as a server on its embedded Postgres, real pushes, and a check of every step.
//
// It is a client like any other: it pushes with git and asks the API. What it prepared and pushed stays in its folder, so
// that a demo that was killed goes on where it was.
package demo
