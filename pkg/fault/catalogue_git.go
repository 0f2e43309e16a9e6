package fault

// Codes of Git: repositories, revisions and what is read from them (2xxx).
const (
	// RepositoryUnknown: no such repository is watched.
	RepositoryUnknown Code = "ORC-2101"
	// RepositoryInvalid: a repository cannot be watched as it is described.
	RepositoryInvalid Code = "ORC-2102"
	// BranchGone: a branch that environments follow does not exist (any more).
	BranchGone Code = "ORC-2103"
	// MergeConflict: a pull request cannot be merged as it is.
	MergeConflict Code = "ORC-2104"
)

var git = map[Code]Entry{
	RepositoryUnknown: {
		Title: "The repository is not watched", Class: Permanent,
		Why:    "The name is wrong, or the repository was never added.",
		Remedy: "`reconciler repositories` lists those that are watched.",
	},
	RepositoryInvalid: {
		Title: "The repository cannot be watched as it is described", Class: Permanent,
		Why:    "Its URL, branches or path patterns are not possible.",
		Remedy: "Correct the entry as the message says.",
	},
	BranchGone: {
		Title: "A branch that environments follow is gone", Class: Refused,
		Why:    "The remote was asked and does not have the branch. What it deployed stays as it is: a deleted branch is no order to delete applications.",
		Remedy: "Push the branch again, or remove the repository's applications one by one if that is meant.",
	},
	MergeConflict: {
		Title: "The pull request conflicts with its base branch", Class: Permanent,
		Why:    "Both sides changed the same lines, so there is no merge to plan.",
		Remedy: "Merge or rebase the base branch into the pull request and resolve the conflicts.",
	},
}
