// Package score reads Score workload files (score.dev/v1b1, specification 0.4.1): it parses them with places, merges
// overrides, validates, and gives typed workloads and their placeholders.
//
// [Load] is the way in. It collects every fault of all files at once; each has a code, file:line:column, the source
// line and what to do. [Fix] rewrites the keys of an older dialect into Score by editing the text.
//
// Codes from ORC-1000 to ORC-1099 say that a file breaks YAML or the specification's schema, those from ORC-1100 to
// ORC-1199 that it breaks a rule beyond the schema, so that verdicts can be compared with those of the schema alone.
//
// YAML is read as Score's own tools do: yes and on are strings, 0600 is a number, a key that is a number counts as its
// text. Unlike there a date is a string, and a tag of one's own is a fault instead of being dropped. Files in the plain
// style that nearly all have are read by a small reader of our own, all others by the YAML library; both give the same
// tree.
//
// The package is pure: no files, no network, no clock, no environment. It does not resolve resource outputs, does not
// read the files that a workload names as a source, and knows nothing about Kubernetes or about the platform's own
// configuration; [Workload.CheckReferences] is told which outputs a provisioner has.
//
// Specification: https://github.com/score-spec/spec
package score
