package fault

// Codes of runs and targets (52xx).
const (
	RunUnknown      Code = "ORC-5201"
	TargetRejected  Code = "ORC-5202"
	TargetForeign   Code = "ORC-5203"
	NothingToUndo   Code = "ORC-5205"
	RunNotRetryable Code = "ORC-5206"
	TargetFenced    Code = "ORC-5207"
)

var applying = map[Code]Entry{
	RunUnknown: {
		Title: "There is no such run", Class: Permanent,
		Why:    "The number is wrong.",
		Remedy: "`reconciler runs` lists the runs.",
	},
	TargetRejected: {
		Title: "The deployment repository does not take our commits", Class: Retryable,
		Why:    "Other writers were faster each time we tried to push, or a rule of the forge refuses the push.",
		Remedy: "It is tried again by itself. If it stays, look at the branch's protection rules in the forge.",
	},
	TargetForeign: {
		Title: "Something that is not ours stands where a manifest belongs", Class: Refused,
		Why:    "Something else, such as a folder, a link or a submodule, has the path of a manifest in the environment's folder or deployment repository.",
		Remedy: "Move it away, or give the target of the environment another path.",
	},
	TargetFenced: {
		Title: "The target was written by another database", Class: Refused,
		Why:    "The folder remembers a later run than this database knows: the database was made anew or restored from a backup, or two installations write to one folder.",
		Remedy: "Give each installation a folder of its own.",
	},
	NothingToUndo: {
		Title: "There is no earlier release to go back to", Class: Permanent,
		Why:    "No other release of the application succeeded in this environment.",
		Remedy: "Fix forward with a new commit.",
	},
	RunNotRetryable: {
		Title: "The release cannot be tried again", Class: Conflict,
		Why:    "Its run did not fail, or a newer release is desired by now.",
		Remedy: "Look at the newest run of the application.",
	},
}
