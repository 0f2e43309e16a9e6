package fault

// Codes of Score files (1xxx): the specification score.dev/v1b1 and what is written in a workload's files. Codes from
// 1000 to 1099 say that the file breaks YAML or the schema, those from 1100 to 1199 that it breaks a rule beyond the
// schema; 1150 to 1199 are warnings.
const (
	// ScoreSyntax: the file is not YAML.
	ScoreSyntax Code = "ORC-1001"
	// ScoreLimit: the file is larger or deeper than what is read.
	ScoreLimit Code = "ORC-1002"
	// ScoreEncoding: the file is not text in UTF-8.
	ScoreEncoding Code = "ORC-1003"
	// ScoreAlias: an alias or a merge key cannot be used like that.
	ScoreAlias Code = "ORC-1004"
	// ScoreDuplicateKey: a key stands twice in one map.
	ScoreDuplicateKey Code = "ORC-1005"
	// ScoreNone: there is no Score document in the file.
	ScoreNone Code = "ORC-1006"
	// ScoreOverride: an override cannot be applied.
	ScoreOverride Code = "ORC-1007"
	// ScoreKeyType: a key is not a string.
	ScoreKeyType Code = "ORC-1008"
	// ScoreType: a value is of the wrong kind.
	ScoreType Code = "ORC-1010"
	// ScoreMissing: a required key is missing.
	ScoreMissing Code = "ORC-1011"
	// ScoreUnknownKey: the specification does not have the key.
	ScoreUnknownKey Code = "ORC-1012"
	// ScoreName: a name is not valid.
	ScoreName Code = "ORC-1013"
	// ScoreFormat: a string does not have the required form.
	ScoreFormat Code = "ORC-1014"
	// ScoreChoice: a string is none of those allowed.
	ScoreChoice Code = "ORC-1015"
	// ScoreRange: a number is out of range.
	ScoreRange Code = "ORC-1016"
	// ScoreEmpty: a map must not be empty.
	ScoreEmpty Code = "ORC-1017"
	// ScoreCombination: keys exclude or need each other.
	ScoreCombination Code = "ORC-1018"
	// ScoreDialectVariables: env instead of variables.
	ScoreDialectVariables Code = "ORC-1030"
	// ScoreDialectParams: properties instead of params.
	ScoreDialectParams Code = "ORC-1031"
	// ScoreDialectPorts: ports in a container.
	ScoreDialectPorts Code = "ORC-1032"
	// ScoreDialectPlatform: environment or workflows in a workload.
	ScoreDialectPlatform Code = "ORC-1033"
	// ScoreMore: there are more faults than are shown.
	ScoreMore Code = "ORC-1099"
	// ScorePlaceholder: a placeholder is not well-formed.
	ScorePlaceholder Code = "ORC-1100"
	// ScoreReference: a placeholder points at nothing.
	ScoreReference Code = "ORC-1101"
	// ScoreOutput: a resource has no such output.
	ScoreOutput Code = "ORC-1102"
	// ScoreBefore: before names no other container.
	ScoreBefore Code = "ORC-1103"
	// ScoreBeforeCycle: containers wait for each other.
	ScoreBeforeCycle Code = "ORC-1104"
	// ScoreTarget: a mount has no target of its own.
	ScoreTarget Code = "ORC-1105"
	// ScoreBase64: binaryContent is not base64.
	ScoreBase64 Code = "ORC-1106"
	// ScoreResourceCycle: resources need each other.
	ScoreResourceCycle Code = "ORC-1107"
	// ScoreDialectOutputs: outputs. in a placeholder.
	ScoreDialectOutputs Code = "ORC-1110"
	// ScoreDialectEnvironment: ${environment.…}.
	ScoreDialectEnvironment Code = "ORC-1111"
	// ScoreTag: a YAML tag that means nothing here.
	ScoreTag Code = "ORC-1112"
	// ScoreNumber: a number that JSON does not have.
	ScoreNumber Code = "ORC-1113"
	// ScoreUnclosed: a placeholder is not closed.
	ScoreUnclosed Code = "ORC-1150"
	// ScoreDeprecated: a deprecated form.
	ScoreDeprecated Code = "ORC-1151"
	// ScoreIgnored: a document is left out.
	ScoreIgnored Code = "ORC-1152"
)

var score = map[Code]Entry{
	ScoreSyntax: {
		Title: "The file is not valid YAML", Class: Permanent,
		Why:    "The YAML parser could not read the file.",
		Remedy: "Correct the YAML at the place shown; most often it is the indentation or a missing quote.",
	},
	ScoreLimit: {
		Title: "The file passes a limit", Class: Permanent,
		Why:    "Size, nesting, the number of values and what aliases expand to are limited, so that no file can stop the server.",
		Remedy: "Make the file smaller. Large content belongs into files that the workload names as a source.",
	},
	ScoreEncoding: {
		Title: "The file is not text in UTF-8", Class: Permanent,
		Why:    "Score files are YAML in UTF-8.",
		Remedy: "Save the file as UTF-8.",
	},
	ScoreAlias: {
		Title: "An alias or merge key cannot be used like that", Class: Permanent,
		Why:    "An alias stands inside its own value, or << does not point at a map.",
		Remedy: "Write the value out.",
	},
	ScoreDuplicateKey: {
		Title: "A key stands twice", Class: Permanent,
		Why:    "YAML does not allow a key twice in the same map, and which one counts differs between tools.",
		Remedy: "Remove one of the two.",
	},
	ScoreNone: {
		Title: "No Score document", Class: Permanent,
		Why:    "A Score file has at least one YAML document with apiVersion score.dev/v1b1 and without kind.",
		Remedy: "Write a workload, or take the file out of what is read as Score.",
	},
	ScoreOverride: {
		Title: "The override cannot be applied", Class: Permanent,
		Why:    "Overrides apply to a file with exactly one workload, and an override is one map.",
		Remedy: "Write the override as one document with one map in it. A file with several workloads takes none: split it.",
	},
	ScoreKeyType: {
		Title: "A key is not a string", Class: Permanent,
		Why:    "JSON, and so Score, knows only strings as keys.",
		Remedy: "Write the key in quotes.",
	},
	ScoreType: {
		Title: "The value is of the wrong kind", Class: Permanent,
		Why:    "The specification wants another kind of value here.",
		Remedy: "Write a value of the kind named.",
	},
	ScoreMissing: {
		Title: "A required key is missing", Class: Permanent,
		Why:    "The specification requires the key.",
		Remedy: "Add it.",
	},
	ScoreUnknownKey: {
		Title: "Unknown key", Class: Permanent,
		Why:    "The specification does not have this key here. Keys of one's own are possible only in metadata and params.",
		Remedy: "Correct the key or remove it.",
	},
	ScoreName: {
		Title: "The name is not valid", Class: Permanent,
		Why:    "Names of containers, ports, resources, variables and annotations follow patterns.",
		Remedy: "Choose a name as described.",
	},
	ScoreFormat: {
		Title: "The value does not have the required form", Class: Permanent,
		Why:    "The specification gives a pattern for this value.",
		Remedy: "Write it in the form described.",
	},
	ScoreChoice: {
		Title: "The value is none of those allowed", Class: Permanent,
		Why:    "The specification lists the values; capital and small letters differ.",
		Remedy: "Write one of those listed.",
	},
	ScoreRange: {
		Title: "The number is out of range", Class: Permanent,
		Why:    "The specification limits the number.",
		Remedy: "Write a number in the range.",
	},
	ScoreEmpty: {
		Title: "There must be at least one entry", Class: Permanent,
		Why:    "A workload has at least one container.",
		Remedy: "Add an entry.",
	},
	ScoreCombination: {
		Title: "Keys exclude or need each other", Class: Permanent,
		Why:    "A file has exactly one of content, binaryContent and source; a probe has httpGet, exec or both.",
		Remedy: "Write the keys in a valid combination.",
	},
	ScoreDialectVariables: {
		Title: "Key of another dialect: env", Class: Permanent,
		Why:    "The innominatus dialect calls variables env.",
		Remedy: "Write variables instead of env.",
	},
	ScoreDialectParams: {
		Title: "Key of another dialect: properties", Class: Permanent,
		Why:    "The innominatus dialect calls params properties.",
		Remedy: "Write params instead of properties.",
	},
	ScoreDialectPorts: {
		Title: "Key of another dialect: ports in a container", Class: Permanent,
		Why:    "In Score the ports belong to the workload, not to a container.",
		Remedy: "Move the ports to service.ports at the top level.",
	},
	ScoreDialectPlatform: {
		Title: "Key of another dialect: environment, workflows", Class: Permanent,
		Why:    "Where a workload runs and the steps around its deployment are the platform's business.",
		Remedy: "Remove the key: the platform has environments and golden paths.",
	},
	ScoreMore: {
		Title: "More faults", Class: Permanent,
		Why:    "Only the first faults are shown.",
		Remedy: "Correct those shown first.",
	},
	ScorePlaceholder: {
		Title: "The placeholder is not well-formed", Class: Permanent,
		Why:    "A placeholder is ${metadata.key} or ${resources.name.output}.",
		Remedy: "Write it in one of these forms; $${ writes a ${ that is no placeholder.",
	},
	ScoreReference: {
		Title: "The placeholder points at nothing", Class: Permanent,
		Why:    "The workload has no such metadata, or no such resource.",
		Remedy: "Correct the path, or declare what it points at.",
	},
	ScoreOutput: {
		Title: "The resource has no such output", Class: Permanent,
		Why:    "The platform's provisioner of the resource does not give this output.",
		Remedy: "Use one of the outputs named.",
	},
	ScoreBefore: {
		Title: "before names no other container", Class: Permanent,
		Why:    "before orders the containers of one workload.",
		Remedy: "Name another container of the workload.",
	},
	ScoreBeforeCycle: {
		Title: "Containers wait for each other", Class: Permanent,
		Why:    "Each container of the circle would wait for the next.",
		Remedy: "Remove one of the before entries.",
	},
	ScoreTarget: {
		Title: "The mount has no target of its own", Class: Permanent,
		Why:    "Two files or volumes of a container have the same target, or one has none.",
		Remedy: "Give each its own target.",
	},
	ScoreBase64: {
		Title: "binaryContent is not base64", Class: Permanent,
		Why:    "binaryContent is in the standard base64 alphabet, with padding.",
		Remedy: "Encode the content with base64.",
	},
	ScoreResourceCycle: {
		Title: "Resources need each other", Class: Permanent,
		Why:    "The params of each resource of the circle use outputs of the next, so that none can be made first.",
		Remedy: "Remove one of the references.",
	},
	ScoreDialectOutputs: {
		Title: "Placeholder of another dialect: outputs", Class: Permanent,
		Why:    "The innominatus dialect writes ${resources.name.outputs.key}.",
		Remedy: "Write ${resources.name.key}.",
	},
	ScoreDialectEnvironment: {
		Title: "Placeholder of another dialect: environment", Class: Permanent,
		Why:    "A workload does not know in which environment it runs.",
		Remedy: "Declare a resource of type environment, or let the platform set a variable.",
	},
	ScoreTag: {
		Title: "The YAML tag means nothing here", Class: Permanent,
		Why:    "Only the standard tags of YAML for strings, numbers, booleans, null, lists and maps have a meaning.",
		Remedy: "Remove the tag.",
	},
	ScoreNumber: {
		Title: "JSON has no such number", Class: Permanent,
		Why:    "Infinity and not-a-number cannot be stored or sent as JSON.",
		Remedy: "Write a finite number or a string in quotes.",
	},
	ScoreUnclosed: {
		Title: "The placeholder is not closed", Class: Permanent,
		Why:    "A ${ without a } is plain text in Score, which is rarely what was meant.",
		Remedy: "Close it with }, or write $${ if it is text.",
	},
	ScoreDeprecated: {
		Title: "A deprecated form", Class: Permanent,
		Why:    "Specification 0.3.0 replaced lists of files and volumes by maps from target to the rest.",
		Remedy: "Write a map with the targets as keys.",
	},
	ScoreIgnored: {
		Title: "A document is left out", Class: Permanent,
		Why:    "A document with a kind is not a Score file, although it says score.dev.",
		Remedy: "Remove kind if it is a workload; move it to a file of its own if it is not.",
	},
}
