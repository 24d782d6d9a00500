package arch

import (
	"go/ast"
	"go/constant"
	"go/types"
	"path"
	"slices"
	"strings"
)

// managers finds exported types named …Manager besides the one.
// dashboard.ConfigManager keeps the name it was given; compat has old names, as
// aliases only.
func managers(m *module) (found []violation) {
	given := []string{root + ".Manager", root + "/dashboard.ConfigManager"}
	for _, p := range m.packages {
		for _, name := range p.types.Scope().Names() {
			typ, ok := p.types.Scope().Lookup(name).(*types.TypeName)
			if !ok || !typ.Exported() || !strings.HasSuffix(name, "Manager") || p.path == "compat" && typ.IsAlias() {
				continue
			}
			if !slices.Contains(given, path.Join(root, p.path)+"."+name) {
				found = append(found, m.at(typ.Pos(), "%s is a second manager: name what it does (Handler, Config, …)", name))
			}
		}
	}
	return found
}

func managerSeeds() []seed {
	const says = " is a second manager: name what it does (Handler, Config, …)"
	return []seed{
		{
			name: "more managers",
			files: map[string]string{
				"quality/quality.go":  "package quality\ntype QualityManager struct{}\n",
				"dashboard/config.go": "package dashboard\ntype Manager struct{}\ntype ConfigManager struct{}\n",
				"compat/compat.go":    "package compat\nimport \"" + root + "\"\ntype WebSocketManager = switchboard.Manager\ntype OldManager struct{}\n",
				"sessions.go":         "package switchboard\ntype SessionManager interface{}\ntype connManager struct{}\nfunc NewManager() {}\n",
			},
			want: []string{
				"compat/compat.go:4: OldManager" + says,
				"dashboard/config.go:2: Manager" + says,
				"quality/quality.go:2: QualityManager" + says,
				"sessions.go:2: SessionManager" + says,
			},
		},
	}
}

// typeLiterals finds constants that become a wire.MessageType without being one that
// wire declares. The empty string is no type and may be compared with. Applications have types
// of their own: examples, and the agent of documents.
func typeLiterals(m *module) (found []violation) {
	for _, p := range m.packages {
		if slices.Contains([]string{"wire", "compat/netra", "internal/docsagent", "examples"}, p.path) || strings.HasPrefix(p.path, "examples/") {
			continue
		}
		for _, f := range p.files {
			if !f.built {
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				e, ok := n.(ast.Expr)
				if !ok {
					return true
				}
				tv := p.info.Types[e]
				if tv.Value == nil || !isMessageType(tv.Type) {
					return true
				}
				if !declared(p, e) && constant.StringVal(tv.Value) != "" {
					found = append(found, m.at(e.Pos(), "%s is no message type that wire declares", tv.Value))
				}
				return false
			})
		}
	}
	return found
}

// isMessageType reports whether typ is wire.MessageType.
func isMessageType(typ types.Type) bool {
	n, ok := types.Unalias(typ).(*types.Named)
	return ok && n.Obj().Name() == "MessageType" && n.Obj().Pkg() != nil && n.Obj().Pkg().Path() == root+"/wire"
}

// declared reports whether e names a constant of type wire.MessageType. Where it is
// declared outside wire, its value was found there.
func declared(p *pkg, e ast.Expr) bool {
	var id *ast.Ident
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		id = e
	case *ast.SelectorExpr:
		id = e.Sel
	case *ast.CallExpr: // a conversion, as the call is constant
		return declared(p, e.Args[0])
	default:
		return false
	}
	c, ok := p.info.Uses[id].(*types.Const)
	return ok && isMessageType(c.Type())
}

func typeLiteralSeeds() []seed {
	const says = " is no message type that wire declares"
	return []seed{
		{
			name: "every way to make one",
			files: map[string]string{"quality/types.go": `package quality
import "github.com/netra-systems/switchboard/wire"
type alias = wire.MessageType
type message struct{ Type wire.MessageType }
const untyped = "untyped"
const text string = "text"
const Mine wire.MessageType = "declared"
var byType = map[wire.MessageType]int{"key": 1}
func publish(wire.MessageType, ...wire.MessageType) {}
func types(m message, s string) wire.MessageType {
	publish("argument", "variadic")
	m.Type = "assigned"
	_ = message{Type: "field"}
	_ = []wire.MessageType{"element"}
	_ = wire.MessageType("converted")
	_ = alias("alias")
	_ = wire.MessageType(untyped)
	_ = wire.MessageType(text)
	publish(untyped)
	_ = wire.Ping + "_sum"
	if m.Type == "compared" {
	}
	switch m.Type {
	case "case":
	}
	return ("returned")
}
`},
			want: []string{
				`quality/types.go:11: "argument"` + says,
				`quality/types.go:11: "variadic"` + says,
				`quality/types.go:12: "assigned"` + says,
				`quality/types.go:13: "field"` + says,
				`quality/types.go:14: "element"` + says,
				`quality/types.go:15: "converted"` + says,
				`quality/types.go:16: "alias"` + says,
				`quality/types.go:17: "untyped"` + says,
				`quality/types.go:18: "text"` + says,
				`quality/types.go:19: "untyped"` + says,
				`quality/types.go:20: "ping_sum"` + says,
				`quality/types.go:21: "compared"` + says,
				`quality/types.go:24: "case"` + says,
				`quality/types.go:26: "returned"` + says,
				`quality/types.go:7: "declared"` + says,
				`quality/types.go:8: "key"` + says,
			},
		},
		{
			name: "names of wire, the empty type, what came over the wire, other strings, free places",
			files: map[string]string{
				"quality/types.go": `package quality
import "github.com/netra-systems/switchboard/wire"
const same = wire.Ping
func types(s string) wire.MessageType {
	t := wire.MessageType(s)
	if t == "" || t == wire.Pong || t == same || t == (wire.Ping) || t == wire.MessageType(wire.Ping) {
		print("a string", string(t))
	}
	return wire.Ping
}
`,
				"quality/types_test.go":   "package quality\nimport \"" + root + "/wire\"\nvar _ wire.MessageType = \"test\"\n",
				"compat/netra/dialect.go": "package netra\nimport \"" + root + "/wire\"\nvar _ wire.MessageType = \"old\"\n",
				"examples/chat/main.go":   "package main\nimport \"" + root + "/wire\"\nvar _ wire.MessageType = \"example\"\nfunc main() {}\n",
			},
		},
	}
}
