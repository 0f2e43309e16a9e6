// Package forgetest is the conformance suite that holds the promises of [forge.Forge], for every forge and for the fake
// that other packages test with. It imports testing and is no part of the product.
package forgetest
