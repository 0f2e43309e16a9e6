package score

import "github.com/innominatus/reconciler/pkg/fault"

// rule says what a value must be. The table below is the schema score-v1b1.json of specification 0.4.1.
type rule struct {
	// is is the kind that the value must have; a whole float is an integer.
	is Kind
	// free lets any value pass.
	free bool
	// fields are the known keys of a map; without open, others are faults.
	fields []field
	open   bool
	// key and value are for maps with names as keys.
	key   *format
	value *rule
	// filled wants at least one entry.
	filled bool
	// item is for lists.
	item *rule
	// list is a second, deprecated form of a map.
	list *rule
	// text and choice are for strings.
	text   *format
	choice []string
	// low and high are for numbers.
	low, high int
	// one names keys of which exactly one must be there, some those of which at least one must be.
	one, some []string
	// dialect holds keys that another dialect has here.
	dialect map[string]foreign
}

// field is a known key of a map.
type field struct {
	name     string
	required bool
	rule     *rule
}

// foreign is a key of another dialect.
type foreign struct {
	code fault.Code
	// instead is the Score key that says the same, or "".
	instead string
	remedy  string
}

var (
	text      = &rule{is: String}
	someText  = &rule{is: String, text: &filled}
	flag      = &rule{is: Bool}
	texts     = &rule{is: List, item: text}
	port      = &rule{is: Int, low: 1, high: 65535}
	openMap   = &rule{is: Map, open: true}
	label     = &rule{is: String, text: &labelFormat}
	typeName  = &rule{is: String, text: &typeFormat}
	annotated = &rule{is: Map, key: &annotationFormat, value: text}
)

var workloadRule = &rule{is: Map, fields: []field{
	{"apiVersion", true, &rule{is: String, text: &versionFormat}},
	{"metadata", true, &rule{is: Map, open: true, fields: []field{
		{"name", true, label},
		{"annotations", false, annotated},
	}}},
	{"service", false, &rule{is: Map, fields: []field{
		{"ports", false, &rule{is: Map, key: &labelFormat, value: servicePortRule}},
	}}},
	{"containers", true, &rule{is: Map, key: &labelFormat, value: containerRule, filled: true}},
	{"resources", false, &rule{is: Map, key: &labelFormat, value: resourceRule}},
}, dialect: workloadDialect}

var servicePortRule = &rule{is: Map, fields: []field{
	{"port", true, port},
	{"protocol", false, &rule{is: String, choice: []string{"TCP", "UDP"}}},
	{"targetPort", false, port},
}}

var containerRule = &rule{is: Map, fields: []field{
	{"image", true, someText},
	{"command", false, texts},
	{"args", false, texts},
	{"variables", false, variablesRule},
	{"files", false, &rule{is: Map, value: fileRule(false), list: &rule{is: List, item: fileRule(true)}}},
	{"volumes", false, &rule{is: Map, value: volumeRule(false), list: &rule{is: List, item: volumeRule(true)}}},
	{"before", false, &rule{is: Map, key: &labelFormat, value: &rule{is: Map, fields: []field{
		{"ready", true, &rule{is: String, choice: []string{"started", "healthy", "complete"}}},
	}}}},
	{"resources", false, &rule{is: Map, fields: []field{{"limits", false, amountsRule}, {"requests", false, amountsRule}}}},
	{"livenessProbe", false, probeRule},
	{"readinessProbe", false, probeRule},
}, dialect: containerDialect}

var variablesRule = &rule{is: Map, key: &variableFormat, value: text}

// fileRule is a file of a container. In the list form it has a target; in the map form the key is the target.
func fileRule(listed bool) *rule {
	r := &rule{is: Map, fields: []field{
		{"mode", false, &rule{is: String, text: &modeFormat}},
		{"source", false, someText},
		{"content", false, text},
		{"binaryContent", false, text},
		{"noExpand", false, flag},
	}, one: []string{"content", "binaryContent", "source"}}
	if listed {
		r.fields = append(r.fields, field{"target", false, someText})
	} else {
		r.dialect = targetDialect
	}
	return r
}

func volumeRule(listed bool) *rule {
	r := &rule{is: Map, fields: []field{{"source", true, text}, {"path", false, text}, {"readOnly", false, flag}}}
	if listed {
		r.fields = append(r.fields, field{"target", false, text})
	} else {
		r.dialect = targetDialect
	}
	return r
}

var amountsRule = &rule{is: Map, fields: []field{
	{"memory", false, &rule{is: String, text: &memoryFormat}},
	{"cpu", false, &rule{is: String, text: &cpuFormat}},
}}

var probeRule = &rule{is: Map, some: []string{"httpGet", "exec"}, fields: []field{
	{"httpGet", false, &rule{is: Map, fields: []field{
		{"host", false, someText},
		{"scheme", false, &rule{is: String, choice: []string{"HTTP", "HTTPS"}}},
		{"path", true, text},
		{"port", true, port},
		{"httpHeaders", false, &rule{is: List, item: &rule{is: Map, fields: []field{
			{"name", true, &rule{is: String, text: &headerFormat}},
			{"value", true, someText},
		}}}},
	}}},
	{"exec", false, &rule{is: Map, fields: []field{{"command", true, texts}}}},
}}

var resourceRule = &rule{is: Map, fields: []field{
	{"type", true, typeName},
	{"class", false, typeName},
	{"id", false, &rule{is: String, text: &idFormat}},
	{"metadata", false, &rule{is: Map, open: true, fields: []field{{"annotations", false, annotated}}}},
	{"params", false, openMap},
}, dialect: resourceDialect}
