// Package check looks at what the reconciler left in the world and says which of its promises were broken: every
// application ends at its newest commit, no generation is applied twice or out of order, no effect is without a run, no run
// without a report, no comment is lost or there twice.
//
// It shares no code with the product, and takes nothing from it on trust that the world itself can tell: it reads the
// deployment repository and the application repositories with git, the folder as it changed over time, statuses and
// comments through Gitea's API, and the history through plain SQL. From which commit something comes it knows by the
// serial number that the author of the chaos test writes into each Score file.
package check
