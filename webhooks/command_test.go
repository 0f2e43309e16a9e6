package webhooks

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadsCommandsOfComments(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		want []command
	}{
		"alone":             {"/plan", []command{{name: "plan"}}},
		"windows line ends": {"Please:\r\n/plan\r\nThanks", []command{{name: "plan"}}},
		"arguments":         {"/rollback  shop\t--to 3 ", []command{{"rollback", []string{"shop", "--to", "3"}}}},
		"several":           {"/plan\ntext\n/help", []command{{name: "plan"}, {name: "help"}}},
		"not at the start":  {"say /plan", nil},
		"a path":            {"/etc/hosts", nil},
		"quoted":            {"> /plan", nil},
		"in a code block":   {"```\n/plan\n```\n", nil},
		"in a longer fence": {"````\n```\n/plan\n````\n/help", []command{{name: "help"}}},
		"in tildes":         {"~~~\n/plan\n~~~", nil},
		"fence never ends":  {"```\n/plan", nil},
		"indented":          {"    /plan", nil},
		"upper case":        {"/PLAN", nil},
		"too long":          {"/plan " + strings.Repeat("x", commandLine), nil},
		"nothing":           {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, commands(c.body), cmp.AllowUnexported(command{}), cmp.Comparer(func(a, b []string) bool { return strings.Join(a, " ") == strings.Join(b, " ") })); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := commands("/plan\n<!-- reconciler:v1 eu shop/app#1 sig=0 -->"); got != nil {
		t.Errorf("a comment of ours asks for %v", got)
	}
	if got := len(commands(strings.Repeat("/plan\n", 100))); got != commandsLimit {
		t.Errorf("%d commands were read, want %d", got, commandsLimit)
	}
}

func FuzzCommands(f *testing.F) {
	for _, seed := range []string{"/plan", "```\n/plan\n```\n/help me", "> /plan\r\n/a-b c\td", "~~~~\n/x", "/\x00", strings.Repeat("/p\n", 20)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		list := commands(body)
		if len(list) > commandsLimit {
			t.Fatalf("%d commands", len(list))
		}
		for _, c := range list {
			if !strings.Contains(body, "/"+c.name) {
				t.Errorf("command %q is not in the comment", c.name)
			}
		}
	})
}
