package arch

import (
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// A fence is a rule about the whole module, with proof that it works.
type fence struct {
	rule  string
	check func(*module) []violation
	seeds []seed // at least one
}

// A seed is a program that breaks the rule: files that are put into a small module
// that keeps all of them (see house), and what the fence must say. A seed that
// wants nothing is a program that only looks like one that breaks the rule.
type seed struct {
	name  string
	files map[string]string
	want  []string
}

func fences() []fence {
	return []fence{
		{rule: "every package type-checks, so that the fences see it", check: typeErrors, seeds: typeErrorSeeds()},
		{rule: "imports point one way", check: wrongArrows, seeds: wrongArrowSeeds()},
		{rule: "the linter knows the same tables", check: missingLintRules, seeds: missingLintRuleSeeds()},
		{rule: "old names are for callers outside", check: compatUses, seeds: compatUseSeeds()},
		{rule: "libraries stay where they belong", check: strayLibraries, seeds: strayLibrarySeeds()},
		{rule: "one registry of connections", check: registries, seeds: registrySeeds()},
		{rule: "one hub", check: hubs, seeds: hubSeeds()},
		{rule: "one manager", check: managers, seeds: managerSeeds()},
		{rule: "one list of message types", check: typeLiterals, seeds: typeLiteralSeeds()},
		{rule: "secrets are compared in constant time", check: secretComparisons, seeds: secretComparisonSeeds()},
		{rule: "silence is measured by the monotonic clock", check: wallClocks, seeds: wallClockSeeds()},
		{rule: "files and functions are short", check: longCode, seeds: longCodeSeeds()},
	}
}

func TestModuleKeepsItsShape(t *testing.T) {
	m, err := read(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	outside, err := exportData("../..", m.imported()...)
	if err != nil {
		t.Fatal(err)
	}
	m.typeCheck(outside)
	for _, f := range fences() {
		t.Run(f.rule, func(t *testing.T) {
			for _, v := range f.check(m) {
				t.Error(v)
			}
		})
	}
}

func TestFencesCatchSeededViolations(t *testing.T) {
	outside, err := exportData(".", "bytes", "container/list", "crypto/subtle", "io", "net", "slices", "strings", "sync", "sync/atomic", "time")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fences() {
		t.Run(f.rule, func(t *testing.T) {
			catches := func(s seed) bool { return len(s.want) > 0 }
			if !slices.ContainsFunc(f.seeds, catches) {
				t.Error("no seed proves that this fence catches anything")
			}
			clean := seed{name: "a clean module"}
			for _, s := range append(f.seeds, clean) {
				t.Run(s.name, func(t *testing.T) {
					tree := house()
					for name, src := range s.files {
						tree[name] = &fstest.MapFile{Data: []byte(src)}
					}
					m, err := read(tree)
					if err != nil {
						t.Fatal(err)
					}
					m.typeCheck(outside)
					var got []string
					for _, v := range f.check(m) {
						got = append(got, v.String())
					}
					slices.Sort(got)
					if !slices.Equal(got, s.want) {
						t.Errorf("got:\n\t%s\nwant:\n\t%s", strings.Join(got, "\n\t"), strings.Join(s.want, "\n\t"))
					}
				})
			}
		})
	}
}

// house is a small module that keeps every rule.
func house() fstest.MapFS {
	files := map[string]string{
		"wire/wire.go": `package wire
type MessageType string
const (
	Ping MessageType = "ping"
	Pong MessageType = "pong"
)
`,
		"internal/hub/hub.go": `package hub
import "net"
type Hub struct{ conns map[string]net.Conn }
type Handle uint64
`,
		"switchboard.go": `package switchboard
import "github.com/netra-systems/switchboard/internal/hub"
type Manager struct{ hub *hub.Hub }
type Conn struct{ m *Manager; h hub.Handle }
func (c *Conn) ID() string { return "" }
func (c *Conn) Close() error { return nil }
`,
		".golangci.yml": strings.Join(lintRules(), ""),
	}
	tree := fstest.MapFS{}
	for name, src := range files {
		tree[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return tree
}

// typeErrors finds packages that do not compile, by the first error of each.
func typeErrors(m *module) (found []violation) {
	for _, p := range m.packages {
		if len(p.errs) > 0 {
			found = append(found, violation{file: cmp.Or(p.path, "."), msg: "the fences are blind here: " + p.errs[0].Error()})
		}
	}
	return found
}

func typeErrorSeeds() []seed {
	return []seed{
		{
			name:  "an undefined name",
			files: map[string]string{"wire/more.go": "package wire\nvar X MessageTyp\n"},
			want:  []string{"wire:0: the fences are blind here: wire/more.go:2:7: undefined: MessageTyp"},
		},
		{
			name:  "a package that is not there",
			files: map[string]string{"wire/more.go": "package wire\nimport n \"" + root + "/nowhere\"\nvar _ n.T\n"},
			want:  []string{`wire:0: the fences are blind here: wire/more.go:2:10: could not import ` + root + `/nowhere (no package "` + root + `/nowhere" in the module)`},
		},
		{
			name:  "a syntax error",
			files: map[string]string{"wire/more.go": "package wire\nfunc {\n"},
			want:  []string{"wire:0: the fences are blind here: wire/more.go:2:6: expected 'IDENT', found '{'"},
		},
		{
			name:  "an error for another platform",
			files: map[string]string{"wire/more_plan9.go": "package wire\nvar X MessageTyp\n"},
		},
	}
}
