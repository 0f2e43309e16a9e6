// Package fake is a [forge.Forge] in memory for the tests of other packages. It keeps state as a real one does, holds the
// same conformance suite, and misbehaves when told to. It imports no testing package and is no part of the product.
package fake
