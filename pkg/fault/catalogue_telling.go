package fault

// Codes of forges, webhooks and reports (6xxx).
const ()

var telling = map[Code]Entry{}
