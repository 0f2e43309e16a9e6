package fault

// Codes of the API, the CLI and who may use them (7xxx).
const ()

var access = map[Code]Entry{}
