package main

import (
	"go.yaml.in/yaml/v4"

	"github.com/innominatus/reconciler/pkg/document"
	"github.com/innominatus/reconciler/pkg/fault"
)

// hide takes the source line from faults where a secret stands on it: itself, in place of the file or variable that holds
// it.
func hide(text document.Text, faults fault.List) {
	secrets := []keys{{"database", "url"}, {"database", "direct"}}
	if node := text.Node("secrets"); node != nil && node.Kind == yaml.MappingNode {
		for i := 0; i < len(node.Content); i += 2 {
			secrets = append(secrets, keys{"secrets", node.Content[i].Value})
		}
	}
	if node := text.Node("forges"); node != nil && node.Kind == yaml.MappingNode {
		for i := 0; i < len(node.Content); i += 2 {
			forge := keys{"forges", node.Content[i].Value}
			secrets = append(secrets, forge.below("token"), forge.below("webhookSecret"))
		}
	}
	for _, path := range secrets {
		node := text.Node(path...)
		if node == nil || node.Kind != yaml.ScalarNode {
			continue
		}
		for _, f := range faults {
			if f.Place.Line == node.Line {
				f.Excerpt, f.Caret = "", 0
			}
		}
	}
}
