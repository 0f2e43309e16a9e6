package fault

// Codes of configuration (3xxx): the platform's own files and the server's configuration file.
const (
	ConfigSyntax     Code = "ORC-3001"
	ConfigUnknownKey Code = "ORC-3002"
	ConfigType       Code = "ORC-3003"
	ConfigMissing    Code = "ORC-3004"
	ConfigValue      Code = "ORC-3005"
	ConfigUnreadable Code = "ORC-3006"

	PlatformFile        Code = "ORC-3101"
	ProvisionerScheme   Code = "ORC-3102"
	ProvisionerTemplate Code = "ORC-3103"
	ProvisionerShape    Code = "ORC-3104"
	EnvironmentUnknown  Code = "ORC-3105"
	PlatformMissing     Code = "ORC-3106"
	EnvironmentInUse    Code = "ORC-3107"
	PathExpression      Code = "ORC-3108"
	ConfigNewer         Code = "ORC-3109"
)

var platform = map[Code]Entry{
	ConfigSyntax: {
		Title: "A configuration file is not valid YAML", Class: Permanent,
		Why:    "The YAML parser could not read the file, or a key stands twice in it.",
		Remedy: "Correct the YAML at the place shown. The configuration that was valid before stays in force.",
	},
	ConfigUnknownKey: {
		Title: "A configuration file has an unknown key", Class: Permanent,
		Why:    "Configuration is read strictly, so that a misspelled setting is never silently without effect.",
		Remedy: "Correct or remove the key; docs/configuration.md lists all of them.",
	},
	ConfigType: {
		Title: "A configuration value has the wrong type", Class: Permanent,
		Why:    "A map, a list, a number, a duration or a truth value was expected.",
		Remedy: "Write the value in the form that the message names.",
	},
	ConfigMissing: {
		Title: "A required configuration key is missing", Class: Permanent,
		Why:    "The setting has no default that would be right for everybody.",
		Remedy: "Add the key; docs/configuration.md explains it.",
	},
	ConfigValue: {
		Title: "A configuration value is not possible", Class: Permanent,
		Why:    "The value has the right type but no meaning here, or contradicts another one.",
		Remedy: "Change the value as the message says.",
	},
	ConfigUnreadable: {
		Title: "A configuration file cannot be read", Class: Retryable,
		Why:    "The file does not exist, or this user may not read it.",
		Remedy: "Correct the path or the file's permissions.",
	},
	PlatformFile: {
		Title: "A file does not belong into a platform configuration", Class: Permanent,
		Why:    "A YAML file whose name has no meaning would silently be without effect.",
		Remedy: "Name it platform.yaml, environments/NAME.yaml, paths/NAME.yaml or SOMETHING.provisioners.yaml, or move it out of the directory.",
	},
	PathExpression: {
		Title: "An expression of a golden path is not valid", Class: Permanent,
		Why:    "It is no CEL, refers to something that is not known at this place, or gives a value of another type than is needed here.",
		Remedy: "Correct the expression; docs/paths.md says what is known where.",
	},
	ProvisionerScheme: {
		Title: "A provisioner has a kind that is not supported", Class: Permanent,
		Why:    "cmd:// provisioners run programs with what application repositories hold as their input; they are refused on purpose.",
		Remedy: "Use a template:// or static:// provisioner.",
	},
	ProvisionerTemplate: {
		Title: "A provisioner's template is not valid", Class: Permanent,
		Why:    "The text is not a Go template, or it calls a function that would make plans depend on time, network or this machine.",
		Remedy: "Correct the template at the place shown; docs/provisioners.md lists the functions.",
	},
	ProvisionerShape: {
		Title: "A provisioner is not complete", Class: Permanent,
		Why:    "A provisioner needs a uri and a type, and its kind decides which other keys it may have.",
		Remedy: "Correct the entry as the message says; docs/provisioners.md describes both kinds.",
	},
	EnvironmentUnknown: {
		Title: "An environment does not exist", Class: Permanent,
		Why:    "A repository's branch, or a command, names an environment that the platform configuration does not have.",
		Remedy: "Add environments/NAME.yaml to the platform configuration, or correct the name.",
	},
	EnvironmentInUse: {
		Title: "An environment in which applications run is gone from the configuration", Class: Refused,
		Why:    "Without its environment nobody could change an application or remove it. The version before stays in force.",
		Remedy: "Bring the environment back, or first remove the applications that run there from their repositories.",
	},
	ConfigNewer: {
		Title: "This version cannot read the configuration in force", Class: Retryable,
		Why:    "Another version of the reconciler on the same database took it: a newer one that knows more, or an older one that allowed more.",
		Remedy: "Finish the upgrade and use what is new afterwards, or correct the configuration. What could not be done is tried again.",
	},
	PlatformMissing: {
		Title: "There is no platform configuration yet", Class: Retryable,
		Why:    "No valid version of the platform configuration has been loaded since this database was made.",
		Remedy: "Look at `reconciler doctor` for what is wrong with it; everything goes on by itself once it is valid.",
	},
}
