// Package forge says what a forge can do for us: list pull requests, take commit statuses and comments.
//
// Each forge is a package below this one; [Forge] is held by the conformance suite in pkg/forge/forgetest, which runs
// against every implementation and the fake. Where a forge lacks something, its [Capabilities] say so. Git itself
// (refs, objects) is pkg/gitrepo's.
package forge
