package fault

// Codes of runs and targets (52xx).
const (
	RunUnknown      Code = "ORC-5201"
	TargetRejected  Code = "ORC-5202"
	TargetForeign   Code = "ORC-5203"
	NothingToUndo   Code = "ORC-5205"
	RunNotRetryable Code = "ORC-5206"
	TargetFenced    Code = "ORC-5207"
	TargetLocked    Code = "ORC-5208"

	PathValue        Code = "ORC-5211"
	RequestRefused   Code = "ORC-5212"
	RequestFailed    Code = "ORC-5213"
	StepTimedOut     Code = "ORC-5214"
	ApprovalDenied   Code = "ORC-5215"
	ApprovalExpired  Code = "ORC-5216"
	ApprovalUnknown  Code = "ORC-5217"
	ApprovalNotYours Code = "ORC-5218"
	SecretMissing    Code = "ORC-5219"
	AnswerUnusable   Code = "ORC-5220"

	ProvisionerGone Code = "ORC-5221"
	ImageGone       Code = "ORC-5222"
	Together        Code = "ORC-5223"
	NotUndone       Code = "ORC-5224"
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
	TargetLocked: {
		Title: "A folder is locked for long", Class: Retryable,
		Why:    "Another delivery into the folder takes long, or the process that is at it was stopped.",
		Remedy: "It is tried again by itself. If it stays, look for a server that hangs: it has a file below `.reconciler` of the folder open.",
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
	PathValue: {
		Title: "An expression of a golden path gave something of another type", Class: Permanent,
		Why:    "What a value is that came from outside, such as an answer's body, is only known when the step runs.",
		Remedy: "Correct the expression or the declared type in the golden path, or what it asks.",
	},
	RequestRefused: {
		Title: "The answer to a step's request is not the expected one", Class: Permanent,
		Why:    "The server answered, and said that it will not do it; to ask again would change nothing.",
		Remedy: "Look at the answer in the run's artefacts, and correct the request in the golden path or what it asks.",
	},
	AnswerUnusable: {
		Title: "A step's request was answered, and the answer cannot be used", Class: Permanent,
		Why:    "An output or `expect` asks something of the answer that it does not have, or that is of another type. What was asked for may be done.",
		Remedy: "Correct the expression or the declared type in the golden path, or what it asks.",
	},
	SecretMissing: {
		Title: "A step's request needs a secret that the server does not have", Class: Retryable,
		Why:    "Golden paths refer to secrets by name, and the configuration of the server that did the step has none of this name.",
		Remedy: "Add it to `secrets` in the configuration of every server, and start them again.",
	},
	RequestFailed: {
		Title: "A step's request got no good answer", Class: Retryable,
		Why:    "The server could not be reached, was busy, or failed.",
		Remedy: "It is tried again as often as the golden path says.",
	},
	StepTimedOut: {
		Title: "A step took too long", Class: Retryable,
		Why:    "An attempt reached the step's time limit.",
		Remedy: "It is tried again. If it stays, find out what it waits for, or raise the step's timeout in the golden path.",
	},
	ApprovalDenied: {
		Title: "Somebody rejected the run", Class: Permanent,
		Why:    "The golden path asks people before it goes on, and one of them said no.",
		Remedy: "Talk to who rejected it; `reconciler retry` asks again.",
	},
	ApprovalExpired: {
		Title: "Nobody approved the run in time", Class: Permanent,
		Why:    "The golden path asks people before it goes on, and too few of them agreed before the time was over.",
		Remedy: "`reconciler retry` asks again.",
	},
	ApprovalUnknown: {
		Title: "There is nothing to approve", Class: Conflict,
		Why:    "The run has no such step, or does not wait for it any more.",
		Remedy: "`reconciler runs` shows what a run waits for.",
	},
	ApprovalNotYours: {
		Title: "Others are asked to approve", Class: Refused,
		Why:    "The golden path names who may approve.",
		Remedy: "Ask one of those that the message names.",
	},
	ProvisionerGone: {
		Title: "The release needs a provisioner that is gone", Class: Refused,
		Why:    "The platform configuration does not have the provisioner any more that fulfilled a resource of the release when it was planned.",
		Remedy: "Choose another release, or commit a change that is planned with the provisioners of today.",
	},
	ImageGone: {
		Title: "The release needs an image that is gone", Class: Refused,
		Why:    "The registry says that it does not have the image, so that no new Pod could start.",
		Remedy: "Choose another release with `--to`, or push the image again.",
	},
	Together: {
		Title: "An application waits for one that it is deployed with", Class: Refused,
		Why:    "Score files of a repository with the same annotation reconciler.dev/atomic are deployed all or none, and one of them cannot be deployed, or was not.",
		Remedy: "Mend, confirm or resume the application that the message names: all of them are deployed then.",
	},
	NotUndone: {
		Title: "What a run did could not be undone", Class: Refused,
		Why:    "The run did not succeed, the golden path says how its steps are undone, and that did not work. Or a run is to be taken back, because another one that it is deployed with was not deployed, and there is no way back.",
		Remedy: "It is tried again for some minutes. If it stays, undo it by hand, or mend what refuses it and run `reconciler jobs retry JOB`; `reconciler jobs --kind undo --state dead` names the job.",
	},
}
