// Package document reads configuration documents: YAML into Go structs, strictly, with every problem found at once and
// each at its place.
//
// It is for files of people whom we trust (operators, platform teams); Score files from application repositories have
// a reader of their own in pkg/score with limits against hostile input.
package document
