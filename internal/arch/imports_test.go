package arch

import "slices"

// An arrow is a line of the table: what a package may import from the module, and
// what its test files may import besides.
type arrow struct {
	from    string
	imports []string
	tests   []string
}

// arrows is the table. A package that is missing here fails the fence, so nobody
// adds one by accident. internal/hub, ws, session and runs are the manager's own; the
// binary reaches them through internal/server alone.
func arrows() []arrow {
	const bare = "" // the root package
	return []arrow{
		{from: bare, imports: []string{"wire", "broker", "broker/membroker", "internal/hub", "internal/ws", "internal/session", "internal/runs", "internal/quota", "internal/respond", "internal/presence", "internal/yield"}, tests: []string{"auth", "broker/brokertest", "client"}},
		{from: "wire"},
		{from: "auth", imports: []string{bare, "wire"}},
		{from: "agent", imports: []string{bare, "wire"}},
		{from: "agent/openai", imports: []string{bare, "agent", "wire"}},
		{from: "broker", imports: []string{"wire"}},
		{from: "broker/brokertest", imports: []string{"broker", "wire"}, tests: []string{"broker/membroker"}},
		{from: "broker/membroker", imports: []string{"broker", "wire"}, tests: []string{"broker/brokertest"}},
		{from: "client", imports: []string{"wire"}, tests: []string{bare, "broker", "broker/membroker"}},
		{from: "docs"},
		{from: "internal/arch"},
		{from: "internal/audit", imports: []string{"internal/quota"}},
		{from: "internal/bench", imports: []string{bare, "wire", "broker", "broker/membroker", "client", "internal/brokerlink", "internal/server", "internal/ws"}},
		{from: "internal/brokerlink", imports: []string{"wire", "broker"}, tests: []string{"broker/brokertest", "broker/membroker"}},
		{from: "internal/devlink"},
		{from: "internal/docsagent", imports: []string{bare, "agent", "docs", "wire"}, tests: []string{"agent/openai", "client"}},
		{from: "internal/hub", imports: []string{"wire", "internal/ws", "internal/yield"}},
		{from: "internal/pages", imports: []string{"wire"}},
		{from: "internal/quota"},
		{from: "internal/presence", imports: []string{"wire"}},
		{from: "internal/respond"},
		{from: "internal/runs", imports: []string{"wire"}},
		{from: "internal/sim", tests: []string{bare, "broker", "broker/membroker", "internal/ws", "wire"}},
		{from: "internal/scenarios", tests: []string{bare, "broker", "client", "internal/server", "internal/ws", "wire"}},
		{from: "internal/isolation", tests: []string{bare, "broker", "broker/membroker", "internal/server", "internal/ws", "wire"}},
		{from: "internal/session", imports: []string{"broker", "wire"}, tests: []string{"broker/membroker"}},
		{from: "internal/ws", imports: []string{"internal/yield"}},
		{from: "internal/yield"},
		{from: "internal/server", imports: []string{"agent/openai", "internal/audit", "internal/devlink", "internal/docsagent", bare, "auth", "wire", "broker", "broker/membroker", "client", "internal/hub", "internal/quota", "internal/respond", "internal/session", "internal/ws", "internal/yield"}},
		{from: "internal/config", imports: []string{bare, "auth", "wire", "broker", "internal/server"}},
		{from: "web"},
		{from: "cmd/switchboard", imports: []string{"internal/audit", "internal/bench", "internal/config", "internal/server", "client", "web"}, tests: []string{bare, "internal/pages", "wire"}},
		{from: "examples/agent", imports: []string{bare, "auth"}},
	}
}

func wrongArrows(m *module) (found []violation) {
	table := map[string]arrow{}
	for _, a := range arrows() {
		table[a.from] = a
	}
	for _, p := range m.packages {
		a, known := table[p.path]
		if !known {
			found = append(found, m.at(p.files[0].syntax.Package, "package %q is not in the table: say in internal/arch what it may import", p.path))
			continue
		}
		for _, f := range p.files {
			may := a.imports
			if f.test {
				may = slices.Concat(a.imports, a.tests, []string{p.path})
			}
			for _, spec := range f.syntax.Imports {
				if to, ours := inModule(imports(spec)); ours && !slices.Contains(may, to) {
					found = append(found, m.at(spec.Pos(), "%q imports %q: that arrow points the wrong way", p.path, to))
				}
			}
		}
	}
	return found
}

func wrongArrowSeeds() []seed {
	return []seed{
		{
			name:  "a driver sees the manager",
			files: map[string]string{"broker/membroker/driver.go": "package membroker\nimport _ \"" + root + "\"\n"},
			want:  []string{`broker/membroker/driver.go:2: "broker/membroker" imports "": that arrow points the wrong way`},
		},
		{
			name:  "the client links the server",
			files: map[string]string{"client/client.go": "package client\nimport _ \"" + root + "\"\n"},
			want:  []string{`client/client.go:2: "client" imports "": that arrow points the wrong way`},
		},
		{
			name:  "a package that nobody agreed on",
			files: map[string]string{"internal/util/util.go": "package util\n"},
			want:  []string{`internal/util/util.go:1: package "internal/util" is not in the table: say in internal/arch what it may import`},
		},
		{
			name:  "a test of a leaf",
			files: map[string]string{"wire/wire_test.go": "package wire_test\nimport (\n\t_ \"" + root + "/wire\"\n\t_ \"" + root + "/broker\"\n)\n"},
			want:  []string{`wire/wire_test.go:4: "wire" imports "broker": that arrow points the wrong way`},
		},
		{
			name:  "a test that may",
			files: map[string]string{"client/client_test.go": "package client_test\nimport _ \"" + root + "\"\n"},
		},
		{
			name:  "a file for another platform",
			files: map[string]string{"wire/wire_plan9.go": "package wire\nimport _ \"" + root + "/internal/hub\"\n"},
			want:  []string{`wire/wire_plan9.go:2: "wire" imports "internal/hub": that arrow points the wrong way`},
		},
	}
}
