package fault

// Codes of jobs and runs (5xxx).
const ()

var run = map[Code]Entry{}
