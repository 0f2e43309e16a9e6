package fault

// Codes of the platform configuration (3xxx).
const ()

var platform = map[Code]Entry{}
