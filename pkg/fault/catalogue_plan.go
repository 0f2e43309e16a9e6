package fault

// Codes of plans and releases (4xxx).
const ()

var plan = map[Code]Entry{}
