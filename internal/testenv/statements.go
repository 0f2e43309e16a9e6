package testenv

import (
	"errors"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Statements prepares every statement of the package under test against the migrated schema: its string constants whose
// names begin with sql.
func Statements(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	statements := constants(t)
	if len(statements) == 0 {
		t.Fatal("the package has no constants whose names begin with sql")
	}
	for name, text := range statements {
		if _, err := pool.Exec(t.Context(), "PREPARE "+name+" AS "+text); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// nothing imports nothing: constants do not need it.
type nothing struct{}

func (nothing) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }

// constants returns the SQL constants of the package in the working directory, which for tests is that under test.
func constants(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	config := types.Config{Importer: nothing{}, Error: func(error) {}, IgnoreFuncBodies: true}
	pkg, _ := config.Check("", set, files, nil) // errors are about imports
	out := map[string]string{}
	for _, name := range pkg.Scope().Names() {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if ok && strings.HasPrefix(name, "sql") && c.Val().Kind() == constant.String {
			out[name] = constant.StringVal(c.Val())
		}
	}
	return out
}
