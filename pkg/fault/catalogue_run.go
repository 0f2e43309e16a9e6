package fault

// Codes of jobs and runs (5xxx).
const (
	// JobInvalid: a job that cannot be put into the queue.
	JobInvalid Code = "ORC-5001"
	// JobPanicked: the code that does the job crashed.
	JobPanicked Code = "ORC-5002"
	// JobTimedOut: the job took longer than its kind may.
	JobTimedOut Code = "ORC-5003"
	// JobNotFound: no job has this number.
	JobNotFound Code = "ORC-5004"
	// JobFinished: the job has ended already.
	JobFinished Code = "ORC-5005"
	// JobNotDead: only a job that has failed for good can be tried again by hand.
	JobNotDead Code = "ORC-5006"
	// JobOutdated: something newer has been asked for since.
	JobOutdated Code = "ORC-5007"
	// JobAbandoned: the process that did the job is gone.
	JobAbandoned Code = "ORC-5008"
	// QueueNotPaused: there is no such pause to end.
	QueueNotPaused Code = "ORC-5020"
	// QueueKindUnknown: no jobs of this kind exist.
	QueueKindUnknown Code = "ORC-5021"
)

var run = map[Code]Entry{
	JobInvalid: {
		Title: "The job cannot be queued", Class: Permanent,
		Why:    "A name, a limit or the arguments of the job break the rules of the queue.",
		Remedy: "This is a mistake in the program that asked for the job; report it with the message.",
	},
	JobPanicked: {
		Title: "The work crashed", Class: Retryable,
		Why:    "The code that does this kind of work met something that it was not written for.",
		Remedy: "It is tried again by itself. If it stays, report it with the stack from the server's log at that time.",
	},
	JobTimedOut: {
		Title: "The work took too long", Class: Retryable,
		Why:    "The work was stopped because it reached its time limit.",
		Remedy: "It is tried again by itself. If it stays, find out what it waits for, or raise the time limit.",
	},
	JobNotFound: {
		Title: "There is no such job", Class: Permanent,
		Why:    "No job has this number. Finished jobs are deleted after some time.",
		Remedy: "List the jobs to find the number.",
	},
	JobFinished: {
		Title: "The job has ended already", Class: Conflict,
		Why:    "The job ended before it could be stopped.",
		Remedy: "Look at the job to see how it ended.",
	},
	JobNotDead: {
		Title: "The job cannot be tried again", Class: Conflict,
		Why:    "Only a job that has failed for good can be tried again by hand.",
		Remedy: "Look at the job: it may be waiting, running or done.",
	},
	JobOutdated: {
		Title: "Something newer has been asked for since", Class: Conflict,
		Why:    "Trying this job again would bring back an older state over a newer one.",
		Remedy: "Look at the newest job of the same key, and try that one again if it failed.",
	},
	JobAbandoned: {
		Title: "The worker is gone", Class: Retryable,
		Why:    "The process that did the work ended, hung, or lost the database, and another one took over.",
		Remedy: "It is tried again by itself. If it happens at each attempt, the work itself may bring the process down: look at its memory.",
	},
	QueueNotPaused: {
		Title: "The queue is not paused", Class: Conflict,
		Why:    "There is no pause of this kind of jobs; a pause of all kinds is ended without naming one.",
		Remedy: "`reconciler queue` lists what is paused.",
	},
	QueueKindUnknown: {
		Title: "There is no such kind of jobs", Class: Permanent,
		Why:    "The server has no work of this kind.",
		Remedy: "`reconciler queue` lists the kinds that have jobs now.",
	},
}
