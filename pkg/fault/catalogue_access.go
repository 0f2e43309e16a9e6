package fault

// Codes of the API, the CLI and who may use them (7xxx).
const (
	Unauthenticated Code = "ORC-7001"
	Forbidden       Code = "ORC-7002"
	TokenInvalid    Code = "ORC-7003"
	RequestInvalid  Code = "ORC-7004"
	NotFound        Code = "ORC-7005"
	ServerAway      Code = "ORC-7006"
	UsageInvalid    Code = "ORC-7007"
	FileUnreadable  Code = "ORC-7008"
	CheckFailed     Code = "ORC-7009"
	DemoFailed      Code = "ORC-7010"
	RequestTooLarge Code = "ORC-7011"
	MethodUnknown   Code = "ORC-7012"
)

var access = map[Code]Entry{
	Unauthenticated: {
		Title: "No valid token", Class: Refused,
		Why:    "Everything but health, readiness and webhooks needs a token, and none was given or it is wrong, expired or revoked.",
		Remedy: "Make one with `reconciler token create NAME` on the server's machine and pass it as RECONCILER_TOKEN or --token-file.",
	},
	Forbidden: {
		Title: "The token may not do this", Class: Refused,
		Why:    "The token's scopes do not include what the request needs.",
		Remedy: "Use a token with the scope that the message names.",
	},
	TokenInvalid: {
		Title: "The token cannot be made or found", Class: Permanent,
		Why:    "A token has a unique name and at least one of the scopes read, deploy and admin.",
		Remedy: "Correct the name or the scopes.",
	},
	RequestInvalid: {
		Title: "The request is not valid", Class: Permanent,
		Why:    "The body or a parameter is not what the API describes.",
		Remedy: "Compare the request with the description at /api/v1/openapi.json.",
	},
	RequestTooLarge: {
		Title: "The request is too large", Class: Permanent,
		Why:    "A body is read up to a limit: 16 MiB for the files of a plan, 1 MiB for anything else.",
		Remedy: "Send less. `reconciler plan` sends all .yaml and .yml files of the working copy but those in node_modules and vendor: move large ones that are not needed out of it.",
	},
	MethodUnknown: {
		Title: "The method is not possible at this address", Class: Permanent,
		Why:    "The address is right, but takes other methods than the one of the request, for example POST and not GET.",
		Remedy: "Use a method that the answer's Allow header names.",
	},
	NotFound: {
		Title: "There is no such page", Class: Permanent,
		Why:    "The address is wrong, or what it was about is gone.",
		Remedy: "Start at the front page or at /api/v1/openapi.json.",
	},
	ServerAway: {
		Title: "The server cannot be reached", Class: Retryable,
		Why:    "No reconciler answers at the address.",
		Remedy: "Start it with `reconciler serve`, or correct RECONCILER_SERVER or --server.",
	},
	UsageInvalid: {
		Title: "The command cannot be understood", Class: Permanent,
		Why:    "An argument or flag is missing, unknown or not possible.",
		Remedy: "`reconciler COMMAND --help` explains it.",
	},
	FileUnreadable: {
		Title: "A file cannot be read", Class: Permanent,
		Why:    "The file does not exist, is no regular file, or this user may not read it.",
		Remedy: "Correct the path or the permissions.",
	},
	DemoFailed: {
		Title: "A step of the demo was not verified", Class: Permanent,
		Why:    "What the demo saw is not what it should have seen.",
		Remedy: "Look at the server's log in the demo's folder, and report it.",
	},
	CheckFailed: {
		Title: "A check of the doctor failed", Class: Permanent,
		Why:    "Something that the reconciler needs is missing or does not work.",
		Remedy: "Do what the check's line says.",
	},
}
