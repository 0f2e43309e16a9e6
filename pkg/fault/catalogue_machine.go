package fault

// Codes of the reconciler itself and the machine it runs on (9xxx).
const (
	// Internal: an error that no code describes better.
	Internal Code = "ORC-9001"
)

var machine = map[Code]Entry{
	Internal: {
		Title: "Something inside went wrong", Class: Retryable,
		Why:    "An error reached a person without having been given a meaning of its own.",
		Remedy: "It is tried again by itself. If it stays, look at the server's log at that time and report it.",
	},
}
