package score_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/innominatus/reconciler/pkg/fault"
	"github.com/innominatus/reconciler/pkg/score"
)

// corpus is a collection of public Score files with the verdict of the official schema; it is not part of the project.
const corpus = "../../../shared/score-corpus"

// verdict is the official one about a document.
type verdict struct {
	dir, file string
	document  int
	verdict   string
}

func verdicts(t *testing.T) []verdict {
	t.Helper()
	index, err := os.ReadFile(filepath.Join(corpus, "index.tsv"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("the corpus is not there")
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []verdict
	for _, line := range strings.Split(strings.TrimSpace(string(index)), "\n")[1:] {
		column := strings.Split(line, "\t")
		number, err := strconv.Atoi(column[3])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, verdict{dir: column[0], file: column[1], document: number, verdict: column[4]})
	}
	return out
}

// schemaFault says whether a fault breaks YAML or the schema rather than a rule beyond it.
func schemaFault(f *fault.Fault) bool {
	return f.Severity == fault.Error && f.Code >= "ORC-1000" && f.Code < "ORC-1100"
}

func TestAgreesWithTheSchemaOnTheCorpus(t *testing.T) {
	all := verdicts(t)
	agreed := 0
	for _, v := range all {
		data, err := os.ReadFile(filepath.Join(corpus, v.dir, v.file))
		if err != nil {
			t.Fatal(err)
		}
		_, faults := score.Load(score.Source{Name: v.file, Data: data})
		from, to := linesOf(data, v.document)
		got := "valid"
		for _, f := range faults {
			if !schemaFault(f) {
				continue
			}
			if f.Code == fault.ScoreSyntax {
				got = "yaml-error"
			} else if f.Place.Line == 0 || f.Place.Line >= from && f.Place.Line < to {
				got = "invalid"
			}
		}
		if got != v.verdict {
			t.Errorf("%s document %d: got %s, the schema says %s\n%v", v.file, v.document, got, v.verdict, faults)
			continue
		}
		if beyond := len(faults.Errors()); got == "valid" && beyond > 0 {
			t.Logf("%s is valid for the schema and breaks rules beyond it:\n%v", v.file, faults)
		}
		agreed++
	}
	t.Logf("%d of %d", agreed, len(all))
}

// linesOf returns the first line of a document and the first after it; documents are cut by lines of three hyphens.
func linesOf(data []byte, document int) (from, to int) {
	number, content := 0, false
	from, to = 1, 1<<30
	for i, line := range strings.Split(string(data), "\n") {
		if strings.HasPrefix(line, "---") {
			if content {
				number++
			}
			content = false
			if number == document {
				from = i + 1
			}
			if number == document+1 {
				return from, i + 1
			}
			continue
		}
		content = content || strings.TrimSpace(line) != "" && line[0] != '#'
	}
	return from, to
}
