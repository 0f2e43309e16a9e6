// Package score reads Score workload files (score.dev/v1b1, specification 0.4.1): it parses them with places, merges
// overrides, validates, and gives typed workloads and their placeholders.
//
// [Load] is the way in. It collects every fault of all files at once; each has a code, file:line:column, the source
// line and what to do. [Fix] rewrites the keys of an older dialect into Score by editing the text.
//
// The package is pure: no files, no network, no clock, no environment. It does not resolve resource outputs, does not
// read the files that a workload names as a source, and knows nothing about Kubernetes or about the platform's own
// configuration; [Workload.CheckReferences] is told which outputs a provisioner has.
//
// Specification: https://github.com/score-spec/spec
package score
