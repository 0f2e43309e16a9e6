package fault

// Codes of Git:repositories, revisions and what is read from them (2xxx).
const ()

var git = map[Code]Entry{}
