package fault

// Codes of forges, webhooks and reports (6xxx).
const (
	ForgeRefused     Code = "ORC-6001"
	ForgeUnavailable Code = "ORC-6002"
	ForgeRejected    Code = "ORC-6003"
	ForgeUnknown     Code = "ORC-6004"
	// ForgeForeign: a repository names a forge that it is not on.
	ForgeForeign Code = "ORC-6005"

	HookSignature Code = "ORC-6101"
	HookTooLarge  Code = "ORC-6102"
	HookPayload   Code = "ORC-6103"
	HookUnknown   Code = "ORC-6104"
	HookEvent     Code = "ORC-6105"
)

var telling = map[Code]Entry{
	ForgeRefused: {
		Title: "The forge does not accept our credentials", Class: Refused,
		Why:    "The token is wrong, expired, or lacks a right that is needed.",
		Remedy: "Give the account write access to the repository and the token the scopes that docs/forges.md lists.",
	},
	ForgeUnavailable: {
		Title: "The forge does not answer", Class: Retryable,
		Why:    "The forge is down, overloaded, limits our rate, or cannot be reached.",
		Remedy: "It is tried again by itself, and nothing that has to be told is lost.",
	},
	ForgeRejected: {
		Title: "The forge rejects a report", Class: Permanent,
		Why:    "The forge answered that the call itself is wrong, or that what it is about does not exist.",
		Remedy: "If the commit or pull request still exists, report this with the message.",
	},
	ForgeUnknown: {
		Title: "A repository names a forge that is not configured", Class: Permanent,
		Why:    "The repository's forge is not among the forges of the server's configuration.",
		Remedy: "Correct the name, or add the forge to the configuration.",
	},
	ForgeForeign: {
		Title: "A repository is not on the forge that it names", Class: Permanent,
		Why:    "A forge's credentials are sent to the scheme, host and port of its url and nowhere else: otherwise whoever may name a repository could have them sent to any host.",
		Remedy: "Correct the repository's address, name the forge that it is on, or leave forge out if it takes no credentials.",
	},
	HookSignature: {
		Title: "A webhook has no valid signature", Class: Permanent,
		Why:    "The signature (SHA-256, made with the shared secret) is missing or does not fit the body.",
		Remedy: "Set the same secret in the forge's webhook and in the server's configuration.",
	},
	HookTooLarge: {
		Title: "A webhook's body is too large", Class: Permanent,
		Why:    "Bodies over 5 MB are not read; no forge sends them for the events that we need.",
		Remedy: "Subscribe the webhook to pushes and pull requests only. Polling finds what was missed.",
	},
	HookPayload: {
		Title: "A webhook's body cannot be read", Class: Permanent,
		Why:    "The body is not the JSON that the forge sends for this event.",
		Remedy: "Check that the webhook's content type is application/json and that the forge is the configured one.",
	},
	HookUnknown: {
		Title: "There is no such webhook", Class: Permanent,
		Why:    "The address names a forge that is not configured, or one without a webhook secret.",
		Remedy: "Use /webhooks/FORGE with the name of a configured forge that has a webhookSecret.",
	},
	HookEvent: {
		Title: "A webhook lacks its headers", Class: Permanent,
		Why:    "The headers that name the event and the delivery are missing.",
		Remedy: "Send webhooks from the forge itself; a proxy must pass its headers on.",
	},
}
