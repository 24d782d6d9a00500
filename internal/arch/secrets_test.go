package arch

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
	"unicode"
)

// A comparison that ends at the first byte that differs tells, by how long it took, how much of a
// guess was right. So what secrets are compared with is crypto/subtle.

// notSecret are places, as "file: expression", where something with the name of a secret is compared
// in the usual way, with the reason.
func notSecret() map[string]string {
	const (
		own    = "two keys of one configuration: only their owner can ask for it"
		lookup = "by the SHA-256 of a whole credential: who cannot choose its bits learns nothing from how far they agree"
	)
	return map[string]string{
		"auth/memory.go: key":                  lookup,
		"internal/config/check.go: other.Hash": own,
		"internal/ws/handshake.go: token":      "RFC 9110 calls the words of a header tokens",
	}
}

// secretComparisons finds values with names or types of secrets that are compared outside
// crypto/subtle, and exceptions that nothing needs.
func secretComparisons(m *module) (found []violation) {
	needless := notSecret()
	for _, p := range m.packages {
		for _, f := range p.files {
			if !f.built {
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				e := comparedSecret(p, n)
				if e == nil {
					return true
				}
				at := f.name + ": " + types.ExprString(e)
				if _, free := notSecret()[at]; free {
					delete(needless, at)
				} else {
					found = append(found, m.at(n.Pos(), "%s may be a secret: compare it with crypto/subtle", types.ExprString(e)))
				}
				return true
			})
		}
		for at := range needless {
			name, _, _ := strings.Cut(at, ":")
			if slices.ContainsFunc(p.files, func(f *file) bool { return f.name == name }) {
				found = append(found, violation{file: name, msg: "nothing needs the exception for " + at})
			}
		}
	}
	return found
}

// comparers are functions that end at the first difference.
func comparers() []string {
	return []string{
		"bytes.Compare", "bytes.Equal", "bytes.EqualFold", "cmp.Compare", "cmp.Less", "maps.Equal", "reflect.DeepEqual",
		"slices.BinarySearch", "slices.Compare", "slices.Contains", "slices.Equal", "slices.Index", "strings.Compare", "strings.EqualFold",
	}
}

// finders are those that look for a part. A constant part is a prefix, which everybody knows.
func finders() []string {
	return []string{
		"bytes.Contains", "bytes.CutPrefix", "bytes.HasPrefix", "bytes.HasSuffix", "bytes.Index",
		"strings.Contains", "strings.CutPrefix", "strings.HasPrefix", "strings.HasSuffix", "strings.Index",
	}
}

// comparedSecret returns the secret that n compares; nil: none.
func comparedSecret(p *pkg, n ast.Node) ast.Expr {
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op == token.EQL || n.Op == token.NEQ {
			return secretAmong(p, n.X, n.Y)
		}
	case *ast.CallExpr:
		name := calledBy(p, n)
		if slices.Contains(comparers(), name) || slices.Contains(finders(), name) && p.info.Types[n.Args[1]].Value == nil {
			return secretAmong(p, n.Args...)
		}
	case *ast.IndexExpr:
		if tv := p.info.Types[n.X]; tv.Type != nil {
			if _, isMap := tv.Type.Underlying().(*types.Map); isMap {
				return secretAmong(p, n.Index)
			}
		}
	case *ast.SwitchStmt:
		if n.Tag == nil {
			return nil
		}
		for _, clause := range n.Body.List {
			for _, value := range clause.(*ast.CaseClause).List {
				if e := secretAmong(p, n.Tag, value); e != nil {
					return e
				}
			}
		}
	}
	return nil
}

// calledBy names the function of a package that call calls, as "bytes.Equal"; "": another one.
func calledBy(p *pkg, call *ast.CallExpr) string {
	fun := ast.Unparen(call.Fun)
	if generic, ok := fun.(*ast.IndexExpr); ok {
		fun = generic.X
	}
	sel, ok := fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	f, ok := p.info.Uses[sel.Sel].(*types.Func)
	if !ok || f.Pkg() == nil || f.Signature().Recv() != nil {
		return ""
	}
	return f.Pkg().Path() + "." + f.Name()
}

// secretAmong returns the first of what is compared that is a secret; nil, if none is, or if
// something is nothing: whether there is a secret may be asked.
func secretAmong(p *pkg, all ...ast.Expr) (secret ast.Expr) {
	for _, e := range all {
		tv := p.info.Types[e]
		if tv.IsNil() || tv.Value != nil && tv.Value.Kind() == constant.String && constant.StringVal(tv.Value) == "" {
			return nil
		}
		if secret == nil && isSecret(p, e) {
			secret = e
		}
	}
	return secret
}

// isSecret tells by the name and the type of e, or of what is converted to it.
func isSecret(p *pkg, e ast.Expr) bool {
	if call, ok := ast.Unparen(e).(*ast.CallExpr); ok && p.info.Types[call.Fun].IsType() {
		return isSecret(p, call.Args[0])
	}
	tv := p.info.Types[e]
	if tv.Type == nil || tv.Value != nil || !isText(tv.Type) {
		return false
	}
	name := nameOf(p, e)
	if n, ok := types.Unalias(tv.Type).(*types.Named); ok {
		kind := words(n.Obj().Name())
		if saysSecret(kind) || saysSecret(slices.Concat(kind, name)) {
			return true
		}
	}
	return saysSecret(name)
}

// isText reports whether a secret can be of typ: a string, bytes, or a list of those.
func isText(typ types.Type) bool {
	switch u := typ.Underlying().(type) {
	case *types.Basic:
		return u.Info()&types.IsString != 0
	case *types.Slice:
		return isByte(u.Elem()) || isText(u.Elem())
	case *types.Array:
		return isByte(u.Elem()) || isText(u.Elem())
	}
	return false
}

func isByte(typ types.Type) bool {
	b, ok := typ.Underlying().(*types.Basic)
	return ok && b.Kind() == types.Byte
}

// nameOf returns the words of the name that e is known by: of a variable, of a field behind those of
// its struct, or of the function that returns it.
func nameOf(p *pkg, e ast.Expr) []string {
	switch e := ast.Unparen(e).(type) {
	case *ast.Ident:
		return words(e.Name)
	case *ast.SelectorExpr:
		return append(ownerOf(p, e.X), words(e.Sel.Name)...)
	case *ast.StarExpr:
		return nameOf(p, e.X)
	case *ast.SliceExpr:
		return nameOf(p, e.X)
	case *ast.IndexExpr:
		return nameOf(p, e.X)
	case *ast.CallExpr:
		return nameOf(p, e.Fun)
	}
	return nil
}

// ownerOf returns the words of the name of e's type.
func ownerOf(p *pkg, e ast.Expr) []string {
	typ := p.info.Types[e].Type
	if ptr, ok := typ.(*types.Pointer); ok {
		typ = ptr.Elem()
	}
	if n, ok := types.Unalias(typ).(*types.Named); ok {
		return words(n.Obj().Name())
	}
	return nil
}

// words splits a name where a capital begins, and takes an s off each end.
func words(name string) (all []string) {
	runes := []rune(name)
	begin := 0
	for i := 1; i <= len(runes); i++ {
		switch {
		case i == len(runes), runes[i] == '_',
			unicode.IsUpper(runes[i]) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			word := strings.ToLower(strings.Trim(string(runes[begin:i]), "_"))
			all = append(all, strings.TrimSuffix(word, "s"))
			begin = i
		}
	}
	return all
}

// saysSecret reports whether what has a name of such words is a secret, or the hash of one.
func saysSecret(name []string) bool {
	if len(name) == 0 {
		return false
	}
	secrets := []string{"token", "secret", "mac", "hmac", "signature", "ticket", "credential", "password", "bearer", "cookie", "apikey"}
	hashes := []string{"hash", "sum", "digest", "mac", "hmac"}
	is := func(of []string) func(string) bool { return func(w string) bool { return slices.Contains(of, w) } }
	last := name[len(name)-1]
	switch {
	case slices.Contains(secrets, last):
		return true
	case slices.Contains(hashes, last), slices.Contains(hashes, name[max(0, len(name)-2)]) && last == "key":
		return slices.Contains(name, "key") || slices.ContainsFunc(name, is(secrets))
	case last == "key":
		return slices.ContainsFunc(name, is([]string{"api", "session", "seal", "sealing", "private"}))
	}
	return false
}
