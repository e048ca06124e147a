package planted

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"testing"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// The build with mistakes offers the hooks that the one without offers, for only
// one of them is compiled at a time.
func TestBothBuildsOfferTheSame(t *testing.T) {
	t.Parallel()
	on, off := offered(t, "on.go"), offered(t, "off.go")
	if len(off) == 0 || !maps.Equal(on, off) {
		t.Errorf("with the tag %v\nwithout it %v\nwant the same", on, off)
	}
}

// offered returns the exported functions of a file and the types of their
// parameters and results.
func offered(t *testing.T, name string) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || !f.Name.IsExported() {
			continue
		}
		signature := ""
		for _, list := range []*ast.FieldList{f.Type.TypeParams, f.Type.Params, f.Type.Results} {
			signature += "("
			if list != nil {
				for _, field := range list.List {
					for range max(1, len(field.Names)) {
						signature += types.ExprString(field.Type) + ","
					}
				}
			}
			signature += ")"
		}
		all[f.Name.Name] = signature
	}
	return all
}
