package fault

// Codes of Score files (1xxx): the specification score.dev/v1b1 and what is written in a workload's files.
const (
	// ScoreSyntax: the file is not YAML.
	ScoreSyntax Code = "ORC-1001"
)

var score = map[Code]Entry{
	ScoreSyntax: {
		Title: "The file is not valid YAML", Class: Permanent,
		Why:    "The YAML parser could not read the file.",
		Remedy: "Correct the YAML at the place shown; most often it is the indentation or a missing quote.",
	},
}
