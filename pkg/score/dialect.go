package score

import "github.com/innominatus/reconciler/pkg/fault"

// Keys of the innominatus dialect, which grew beside the specification, and of what people write out of habit.

var workloadDialect = map[string]foreign{
	"environment": {code: fault.ScoreDialectPlatform,
		remedy: "Remove it. Where a workload runs, and for how long, is decided by the platform's environments."},
	"workflows": {code: fault.ScoreDialectPlatform,
		remedy: "Remove it. Steps around a deployment are the platform's golden paths."},
}

var containerDialect = map[string]foreign{
	"env": {code: fault.ScoreDialectVariables, instead: "variables",
		remedy: "Write variables instead of env: a map from names to strings."},
	"ports": {code: fault.ScoreDialectPorts,
		remedy: "Move the ports to service.ports at the top level, each with a name: service: {ports: {http: {port: 80}}}."},
}

var resourceDialect = map[string]foreign{
	"properties": {code: fault.ScoreDialectParams, instead: "params", remedy: "Write params instead of properties."},
}

var targetDialect = map[string]foreign{
	"target": {code: fault.ScoreUnknownKey,
		remedy: "Remove it: in the map form the key is the target."},
}
