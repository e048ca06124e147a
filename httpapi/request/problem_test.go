package request

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/httpapi/contract"
	"github.com/taskfeed/taskfeed/lab/contracttest"
)

// TestEveryCodeHasAnAnswer reads the codes from the root package's source, so that
// new ones are tested too.
func TestEveryCodeHasAnAnswer(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "../../errors.go", nil, 0)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	var codes []taskfeed.Code
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || fmt.Sprint(spec.Type) != "Code" {
			return true
		}
		codes = append(codes, taskfeed.Code(strings.Trim(spec.Values[0].(*ast.BasicLit).Value, `"`)))
		return true
	})
	if len(codes) < 17 {
		t.Fatalf("%d codes found, want at least 17", len(codes))
	}
	for _, code := range codes {
		a := answers[code]
		if http.StatusText(a.status) == "" || a.status < 400 || a.title == "" {
			t.Errorf("code %s is answered by %d %q, want an error status and a title", code, a.status, a.title)
		}
		if a.status == 429 || a.status == 503 {
			if a.retry < time.Second {
				t.Errorf("code %s with status %d has no Retry-After", code, a.status)
			}
		}
	}
	if len(answers) != len(codes) {
		t.Errorf("%d answers for %d codes, want one each", len(answers), len(codes))
	}
}

func TestErrorsHideTheirCause(t *testing.T) {
	t.Parallel()
	secret := errors.New("password=hunter2")
	for name, err := range map[string]error{
		"without a code":       secret,
		"internal":             &taskfeed.Error{Code: taskfeed.CodeInternal, Message: "hunter2", Err: secret},
		"with an unknown code": &taskfeed.Error{Code: "new", Message: "hunter2"},
		"with a cause":         fmt.Errorf("hunter2: %w", &taskfeed.Error{Code: taskfeed.CodeGone, Message: "gone", Err: secret}),
	} {
		if got := AsError(err); strings.Contains(got.Message, "hunter2") || answers[got.Code].status == 0 {
			t.Errorf("%s: shown as %s %q, want a known code and nothing of the cause", name, got.Code, got.Message)
		}
	}
}

// TestContractNamesEveryCode proves that the document lists exactly the codes.
func TestContractNamesEveryCode(t *testing.T) {
	t.Parallel()
	var named []taskfeed.Code
	for _, code := range contracttest.Load(t, contract.Files).Doc.Components.Schemas["Problem"].Value.Properties["code"].Value.Enum {
		named = append(named, taskfeed.Code(code.(string)))
	}
	for code := range answers {
		if !slices.Contains(named, code) {
			t.Errorf("the contract does not name the code %s", code)
		}
	}
	if len(named) != len(answers) {
		t.Errorf("the contract names %d codes, want %d", len(named), len(answers))
	}
}
