package score

// Limits for what is read. They stand far above what a workload needs and far below what would hurt a server that
// reads files of people it does not know.
const (
	// maxSize is the largest file, in bytes. Kubernetes refuses objects above 1.5 MiB and a ConfigMap above 1 MiB, so
	// that nothing larger could be deployed.
	maxSize = 1 << 20
	// maxDepth is how deep maps and lists may be nested. Score itself needs 8; the rest is room for params. It also
	// bounds the stack of every walk over a tree.
	maxDepth = 100
	// maxNodes is how many values a file may have, aliases and merge keys counted as if written out. A rich workload
	// has about 150. It bounds time and memory of every walk, also over a tree in which aliases share values.
	maxNodes = 50_000
	// maxReferences is how many placeholders a workload, or a file that it names as a source, may have. Each is looked
	// up, and later resolved; a rich workload has about 30.
	maxReferences = 10_000
	// maxCandidates is among how many names the one is sought that was probably meant; more would take too long.
	maxCandidates = 200
	// maxFaults is how many faults are told at once; more than a few screens help nobody.
	maxFaults = 100
	// maxCollected is how many faults are kept while looking, so that the first ones by place can be chosen.
	maxCollected = 10 * maxFaults
)
