// Package planner turns a workload, the platform configuration and the stored state into a release, and the difference
// between two releases into a plan.
//
// Planning is deterministic and touches no network: the same input gives the same bytes. Secret values are found while
// planning and kept apart from everything that is stored in clear text, shown or compared. The package also owns the
// tables of applications, releases and plans; what is executed when is decided in pkg/reconcile and pkg/apply.
package planner
