package fault

// Codes of Git: repositories, revisions and what is read from them (2xxx).
const (
	// GitUnreachable: the remote cannot be reached, or broke off.
	GitUnreachable Code = "ORC-2001"
	// GitBusy: the remote asks to come back later.
	GitBusy Code = "ORC-2002"
	// GitUnauthorized: the remote does not accept the credentials.
	GitUnauthorized Code = "ORC-2003"
	// GitNotFound: there is no such repository, or it is hidden.
	GitNotFound Code = "ORC-2004"
	// GitProtocol: the remote's answer is not Git's protocol.
	GitProtocol Code = "ORC-2005"
	// GitAddressRefused: an address that is not connected to.
	GitAddressRefused Code = "ORC-2006"
	// CommitMissing: the remote does not have a commit (yet).
	CommitMissing Code = "ORC-2007"
	// PackTooLarge: the remote sends more than is taken.
	PackTooLarge Code = "ORC-2008"
	// MirrorDamaged: the copy on disk is damaged, and is made anew.
	MirrorDamaged Code = "ORC-2009"
	// MirrorUnwritable: the copy on disk cannot be written.
	MirrorUnwritable Code = "ORC-2010"
	// FileTooLarge: a file is beyond the limit.
	FileTooLarge Code = "ORC-2011"
	// FileIsSymlink: a symlink is where a file is expected.
	FileIsSymlink Code = "ORC-2012"
	// FileIsSubmodule: a submodule is where a file is expected.
	FileIsSubmodule Code = "ORC-2013"
	// FileIsDirectory: a directory is where a file is expected.
	FileIsDirectory Code = "ORC-2014"
	// PathInvalid: a path that cannot be in a repository.
	PathInvalid Code = "ORC-2015"
	// TreeInvalid: a commit holds what no commit should.
	TreeInvalid Code = "ORC-2016"
	// PushConflict: a branch moved while a commit for it was made.
	PushConflict Code = "ORC-2017"
	// PushRefused: the remote does not accept a commit.
	PushRefused Code = "ORC-2018"
	// GitFormatUnsupported: a repository in a format that is not read.
	GitFormatUnsupported Code = "ORC-2019"
	// RepositoryUnknown: no such repository is watched.
	RepositoryUnknown Code = "ORC-2101"
	// RepositoryInvalid: a repository cannot be watched as it is described.
	RepositoryInvalid Code = "ORC-2102"
	// BranchGone: a branch that environments follow does not exist (any more).
	BranchGone Code = "ORC-2103"
	// MergeConflict: a pull request cannot be merged as it is.
	MergeConflict Code = "ORC-2104"
	// RepositoryConfigured: a repository of the configuration cannot be changed elsewhere.
	RepositoryConfigured Code = "ORC-2105"
)

var git = map[Code]Entry{
	GitUnreachable: {
		Title: "The Git remote cannot be reached", Class: Retryable,
		Why:    "The network, the server or something between failed, or no answer came in time.",
		Remedy: "Nothing if it passes by itself. Otherwise check the address and the network from the reconciler's machine with `git ls-remote`.",
	},
	GitBusy: {
		Title: "The Git remote asks to wait", Class: Retryable,
		Why:    "The server answered 429 or 503: too many requests, or maintenance.",
		Remedy: "Nothing: it is tried again when the server says. Raise the poll interval if it happens often.",
	},
	GitUnauthorized: {
		Title: "The Git remote refuses the credentials", Class: Refused,
		Why:    "The credentials are missing, wrong, expired, or may not read (or write) this repository.",
		Remedy: "Give the repository credentials that may read it, and write where commits are pushed.",
	},
	GitNotFound: {
		Title: "The Git remote does not know the repository", Class: Refused,
		Why:    "The URL is wrong, the repository was deleted or renamed, or the account may not see it.",
		Remedy: "Correct the URL, or give the account access.",
	},
	GitProtocol: {
		Title: "The remote does not answer as a Git server", Class: Permanent,
		Why:    "Something else answers at this URL, for example a login page, or the server is broken.",
		Remedy: "Check that `git ls-remote URL` works. The URL is the one for cloning over https.",
	},
	GitAddressRefused: {
		Title: "The address of the remote is not allowed", Class: Refused,
		Why:    "Link-local and cloud metadata addresses, redirects to another host, and other schemes than http and https are never used; loopback and private networks only where they are allowed.",
		Remedy: "Use the final https address of the repository, or allow private networks in the configuration.",
	},
	CommitMissing: {
		Title: "The remote does not have the commit", Class: Retryable,
		Why:    "The commit was announced and the remote does not show it yet, or it was rewritten away.",
		Remedy: "Nothing if it was just pushed. If the branch was rewritten, its new commit is looked at by itself.",
	},
	PackTooLarge: {
		Title: "The repository is larger than the limit", Class: Refused,
		Why:    "What the remote sent for one fetch is beyond the limit for a pack, in bytes, objects or memory.",
		Remedy: "Raise the limit for packs, or make the repository smaller.",
	},
	MirrorDamaged: {
		Title: "The mirror of the repository is damaged", Class: Retryable,
		Why:    "An object that must be there is missing or unreadable in the copy on disk. Nothing was concluded from it.",
		Remedy: "Nothing: the copy is made anew with the next attempt. If it comes back, check the disk, or the repository with `git fsck`.",
	},
	MirrorUnwritable: {
		Title: "The mirror of the repository cannot be written", Class: Retryable,
		Why:    "The disk is full, or the directory's permissions do not allow it.",
		Remedy: "Free space in the data directory, or correct its owner.",
	},
	FileTooLarge: {
		Title: "The file is too large", Class: Permanent,
		Why:    "Files of application repositories are read up to a limit.",
		Remedy: "Make the file smaller, or keep large content out of Git.",
	},
	FileIsSymlink: {
		Title: "A symlink is where a file is expected", Class: Permanent,
		Why:    "Symlinks in repositories are never followed: they could lead anywhere.",
		Remedy: "Put the file itself at the path.",
	},
	FileIsSubmodule: {
		Title: "A submodule is where a file is expected", Class: Permanent,
		Why:    "What a submodule holds is in another repository and is not read.",
		Remedy: "Put the file into this repository, or watch the other repository too.",
	},
	FileIsDirectory: {
		Title: "A directory is where a file is expected", Class: Permanent,
		Why:    "The path names a directory.",
		Remedy: "Name the file in it.",
	},
	PathInvalid: {
		Title: "The path cannot be a file of the repository", Class: Permanent,
		Why:    "Paths are relative to the repository's root, with forward slashes, without empty parts, `.` and `..`.",
		Remedy: "Correct the path.",
	},
	TreeInvalid: {
		Title: "The commit's tree is malformed or too large", Class: Permanent,
		Why:    "Names in the tree are impossible, or it has more entries or depth than is read.",
		Remedy: "Repair the commit (`git fsck` names what is wrong) or split the repository.",
	},
	PushConflict: {
		Title: "The branch moved meanwhile", Class: Conflict,
		Why:    "Somebody else pushed to the branch after it was read. Nothing was overwritten.",
		Remedy: "Nothing: the commit is made anew on top of the new one.",
	},
	PushRefused: {
		Title: "The remote refuses the push", Class: Refused,
		Why:    "The branch is protected, or a hook of the remote declined.",
		Remedy: "Let the account push to the branch, or correct what the hook says.",
	},
	GitFormatUnsupported: {
		Title: "The repository's object format is not supported", Class: Permanent,
		Why:    "Repositories with SHA-256 object names are not read.",
		Remedy: "Use a repository with SHA-1 object names.",
	},
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
	RepositoryConfigured: {
		Title: "The repository stands in the configuration", Class: Refused,
		Why:    "Repositories of the configuration file are watched as it says: what is changed elsewhere would come back with the next start.",
		Remedy: "Change or remove it below `repositories` in the server's configuration file, and start the server again.",
	},
}
