// Package reconcile is the way of a commit: it joins what gitwatch saw, what planner makes of it, what apply does and
// what status tells.
//
// A move of a branch, a change of a pull request and a new platform configuration each become a job here. Evaluating a
// revision reads the Score files of its tree, plans every application of every environment that follows the branch,
// and stores releases, runs and reports in one transaction with the end of the job. What a person does (confirm, hold,
// resume, roll back, retry) passes here too, so that the same rules hold.
package reconcile
