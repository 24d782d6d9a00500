package arch

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
)

// root is the module's path. Packages are named by what follows it: "" is the
// root package, "internal/hub" the hub.
const root = "github.com/netra-systems/switchboard"

// A module is what the fences look at.
type module struct {
	tree     fs.FS
	fset     *token.FileSet
	packages []*pkg // by path
	outside  types.Importer
}

// A pkg is one package of the module.
type pkg struct {
	path  string
	files []*file

	// Of the files that this platform builds, without tests.
	types *types.Package
	info  *types.Info
	errs  []error
}

// A file is one Go file, whatever platform or tag it is for.
type file struct {
	name   string // from the module's root, with slashes
	src    []byte
	syntax *ast.File
	test   bool
	built  bool // no test, and this platform builds it
}

// A violation is a place that breaks a rule.
type violation struct {
	file string
	line int
	msg  string
}

func (v violation) String() string { return fmt.Sprintf("%s:%d: %s", v.file, v.line, v.msg) }

// at returns the violation at pos.
func (m *module) at(pos token.Pos, format string, args ...any) violation {
	p := m.fset.Position(pos)
	return violation{file: p.Filename, line: p.Line, msg: fmt.Sprintf(format, args...)}
}

// pkg returns a package by path, nil if the module has none there.
func (m *module) pkg(path string) *pkg {
	i, ok := slices.BinarySearchFunc(m.packages, path, func(p *pkg, path string) int { return cmp.Compare(p.path, path) })
	if !ok {
		return nil
	}
	return m.packages[i]
}

// read parses the module in tree.
//
// It reads through the os package and leaves the go command out of it, so that a
// cached test result is good only as long as the tree is the same.
func read(tree fs.FS) (*module, error) {
	m := &module{tree: tree, fset: token.NewFileSet()}
	found := map[string]*pkg{}
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && ignored(tree, name):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		dir := strings.TrimPrefix(path.Dir(name), ".")
		if found[dir] == nil {
			found[dir] = &pkg{path: dir}
		}
		return m.parse(found[dir], name)
	})
	m.packages = slices.SortedFunc(maps.Values(found), func(a, b *pkg) int { return cmp.Compare(a.path, b.path) })
	return m, err
}

// ignored reports whether the pattern ./... leaves out the directory dir.
func ignored(tree fs.FS, dir string) bool {
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "node_modules" {
		return true
	}
	_, err := fs.Stat(tree, dir+"/go.mod")
	return err == nil
}

// parse adds one file to p and finds out whether this platform builds it. A file
// that does not parse is added as far as it does.
func (m *module) parse(p *pkg, name string) error {
	src, err := fs.ReadFile(m.tree, name)
	if err != nil {
		return err
	}
	f := &file{name: name, src: src, test: strings.HasSuffix(name, "_test.go")}
	f.syntax, err = parser.ParseFile(m.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		p.errs = append(p.errs, err)
	}
	ctx := build.Default
	ctx.JoinPath = path.Join
	ctx.OpenFile = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(src)), nil }
	match, err := ctx.MatchFile(path.Dir(name), path.Base(name))
	if err != nil {
		p.errs = append(p.errs, err)
	}
	f.built = match && !f.test
	p.files = append(p.files, f)
	return nil
}

// typeCheck type-checks all packages; outside imports what is not in the module.
// Errors are kept in the packages, so that one that does not compile hides nothing
// of the others.
func (m *module) typeCheck(outside types.Importer) {
	m.outside = outside
	for _, p := range m.packages {
		m.check(p)
	}
}

// check type-checks p after what it imports.
func (m *module) check(p *pkg) {
	if p.types != nil {
		return
	}
	p.info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Defs:  map[*ast.Ident]types.Object{},
		Uses:  map[*ast.Ident]types.Object{},
	}
	p.types = types.NewPackage(path.Join(root, p.path), "") // stands for p while a cycle leads back to it
	var files []*ast.File
	for _, f := range p.files {
		if f.built {
			files = append(files, f.syntax)
		}
	}
	conf := types.Config{Importer: m, Error: func(err error) { p.errs = append(p.errs, err) }}
	// The error is the first of those that p.errs has.
	p.types, _ = conf.Check(path.Join(root, p.path), m.fset, files, p.info)
}

// Import implements [types.Importer]. Packages of the module come from source, so
// that a type is one object wherever it is used.
func (m *module) Import(importPath string) (*types.Package, error) {
	rest, ours := inModule(importPath)
	if !ours {
		return m.outside.Import(importPath)
	}
	p := m.pkg(rest)
	if p == nil {
		return nil, fmt.Errorf("no package %q in the module", importPath)
	}
	m.check(p)
	return p.types, nil
}

// inModule cuts the module's path off an import path.
func inModule(importPath string) (rest string, ours bool) {
	if importPath == root {
		return "", true
	}
	return strings.CutPrefix(importPath, root+"/")
}

// imported returns what the files that are built import from elsewhere.
func (m *module) imported() []string {
	paths := map[string]bool{}
	for _, p := range m.packages {
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				if _, ours := inModule(imports(spec)); f.built && !ours {
					paths[imports(spec)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(paths))
}

// imports returns the path that spec imports.
func imports(spec *ast.ImportSpec) string { return strings.Trim(spec.Path.Value, "\"`") }

// exportData returns an importer of the packages in paths and of what they import,
// from what the go command compiled when asked in dir.
func exportData(dir string, paths ...string) (types.Importer, error) {
	args := append([]string{"list", "-e", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}"}, paths...)
	cmd := exec.Command("go", args...)
	stderr := new(strings.Builder)
	cmd.Dir, cmd.Stderr = dir, stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr)
	}
	export := map[string]string{}
	for line := range strings.Lines(string(out)) {
		importPath, name, _ := strings.Cut(strings.TrimSpace(line), "\t")
		export[importPath] = name
	}
	return importer.ForCompiler(token.NewFileSet(), "gc", func(importPath string) (io.ReadCloser, error) {
		return os.Open(export[importPath])
	}), nil
}
