package wire_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/wire"
)

// declaredCodes lists the codes in their order.
func declaredCodes() []wire.Code {
	return []wire.Code{
		wire.CodeInvalidJSON, wire.CodeInvalidMessage, wire.CodeTooLarge, wire.CodeRateLimited, wire.CodeBusy,
		wire.CodeAuthError, wire.CodeForbidden, wire.CodeNotFound, wire.CodeConflict, wire.CodeRunContract,
		wire.CodeRunEnded, wire.CodeRunCancelled, wire.CodeStreamOffset, wire.CodeBackendUnavailable,
		wire.CodeUnavailable, wire.CodeUnsupported, wire.CodeTimeout, wire.CodeInternal,
	}
}

// constantsOf returns the values of the constants of codes.go whose names begin with prefix.
func constantsOf(t *testing.T, prefix string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, prefix) {
			return true
		}
		if !strings.HasPrefix(v.Doc.Text(), v.Names[0].Name+" ") {
			t.Errorf("%s has no comment that begins with its name", v.Names[0].Name)
		}
		values = append(values, strings.Trim(v.Values[0].(*ast.BasicLit).Value, `"`))
		return true
	})
	return values
}

func TestCodesAreThoseOfTheProtocol(t *testing.T) {
	want := strings.Fields(`INVALID_JSON INVALID_MESSAGE TOO_LARGE RATE_LIMITED BUSY AUTH_ERROR FORBIDDEN NOT_FOUND
		CONFLICT RUN_CONTRACT RUN_ENDED RUN_CANCELLED STREAM_OFFSET BACKEND_UNAVAILABLE UNAVAILABLE UNSUPPORTED
		TIMEOUT INTERNAL`)
	if got := constantsOf(t, "Code"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	var listed []string
	for _, c := range declaredCodes() {
		listed = append(listed, string(c))
	}
	if !slices.Equal(listed, want) {
		t.Errorf("got %v, want %v", listed, want)
	}
}

func TestCloseCodesMayBeSentInACloseFrame(t *testing.T) {
	values := constantsOf(t, "Close")
	if len(values) != 13 {
		t.Errorf("got %d close codes, want 13", len(values))
	}
	for _, v := range values {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1000 || n > 4999 || n >= 1004 && n <= 1006 || n == 1015 || n > 2999 && n < 4000 {
			t.Errorf("%s may not be sent (RFC 6455 §7.4)", v)
		}
	}
}

func TestEveryCodeHasAStatusOfItsKind(t *testing.T) {
	for _, c := range declaredCodes() {
		status := c.HTTPStatus()
		if status < 400 || status > 599 || status == 500 && c != wire.CodeInternal {
			t.Errorf("%s: got %d, want a status of its own", c, status)
		}
	}
	if got := wire.Code("OF_AN_APPLICATION").HTTPStatus(); got != 500 {
		t.Errorf("a code that nobody knows: got %d, want 500", got)
	}
}
