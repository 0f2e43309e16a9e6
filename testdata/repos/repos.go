// Package repos holds the example repositories that the demo and the end-to-end tests work with: the platform team's,
// and an application repository in the steps of a story. Each step has the files that it changes.
package repos

import "embed"

// Files are the repositories; folders below shop are the steps in order.
//
//go:embed platform shop
var Files embed.FS
