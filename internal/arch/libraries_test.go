package arch

import (
	"slices"
	"strings"
)

// compatUses finds imports of compat and what is below it. internal/server may plug
// in the old dialect of the wire, compat/netra; nothing else is an exception, and no
// test is, except those of compat itself.
func compatUses(m *module) (found []violation) {
	const old = "compat"
	below := func(p string) bool { return p == old || strings.HasPrefix(p, old+"/") }
	for _, p := range m.packages {
		if below(p.path) {
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				to, ours := inModule(imports(spec))
				if !ours || !below(to) || to == "compat/netra" && p.path == "internal/server" {
					continue
				}
				found = append(found, m.at(spec.Pos(), "%s is for callers outside this module", to))
			}
		}
	}
	return found
}

func compatUseSeeds() []seed {
	compat := "package compat\nimport \"" + root + "\"\ntype WebSocketManager = switchboard.Manager\n"
	return []seed{
		{
			name: "an old name, also in a test",
			files: map[string]string{
				"compat/compat.go":      compat,
				"quality/quality.go":    "package quality\nimport \"" + root + "/compat\"\ntype m = compat.WebSocketManager\n",
				"quality/old_test.go":   "package quality\nimport _ \"" + root + "/compat\"\n",
				"quality/netra_test.go": "package quality\nimport _ \"" + root + "/compat/netra\"\n",
			},
			want: []string{
				"quality/netra_test.go:2: compat/netra is for callers outside this module",
				"quality/old_test.go:2: compat is for callers outside this module",
				"quality/quality.go:2: compat is for callers outside this module",
			},
		},
		{
			name: "the server plugs in the old dialect, compat tests itself",
			files: map[string]string{
				"compat/compat.go":          compat,
				"compat/compat_test.go":     "package compat_test\nimport _ \"" + root + "/compat\"\n",
				"internal/server/server.go": "package server\nimport _ \"" + root + "/compat/netra\"\n",
			},
		},
	}
}

// A library is something from elsewhere that only some packages may use.
type library struct {
	name  string
	paths []string // with all that is below them
	only  []string // packages that may
	tests bool     // tests may too
	why   string
}

func libraries() []library {
	const oneEngine = "the only WebSocket engine here is internal/ws"
	const testOnly = "it would be linked into every program"
	return []library{
		{
			name:  "websocket-peer",
			paths: []string{"github.com/coder/websocket"},
			only:  []string{"client", "internal/bench"},
			tests: true,
			why:   oneEngine,
		},
		{
			name: "websocket-engines",
			paths: []string{
				"github.com/fasthttp/websocket", "github.com/gobwas/ws", "github.com/gorilla/websocket", "github.com/lxzan/gws",
				"github.com/olahol/melody", "golang.org/x/net/websocket", "nhooyr.io/websocket",
			},
			why: oneEngine,
		},
		{
			name:  "jwkset",
			paths: []string{"github.com/MicahParks/jwkset", "github.com/MicahParks/keyfunc"},
			only:  []string{"auth"},
			tests: true,
			why:   "auth alone fetches the keys of tokens",
		},
		{
			name:  "yaml",
			paths: []string{"go.yaml.in/yaml", "gopkg.in/yaml.v3"},
			only:  []string{"internal/config"},
			why:   "the configuration is the only YAML here",
		},
		{
			name:  "openai",
			paths: []string{"github.com/openai/openai-go"},
			only:  []string{"agent/openai"},
			why:   "a program links it only if it takes that model",
		},
		{
			name:  "qr",
			paths: []string{"github.com/piglig/go-qr"},
			only:  []string{"cmd/switchboard"},
			why:   "codes are for a terminal",
		},
		{
			name:  "x-tools",
			paths: []string{"golang.org/x/tools"},
			why:   "it would be in the go.sum of every embedder",
		},
		{
			name: "test-libraries",
			paths: []string{
				"github.com/Shopify/toxiproxy", "github.com/google/go-cmp", "github.com/invopop/jsonschema", "github.com/rs/zerolog",
				"go.uber.org/goleak", "pgregory.net/rapid", "testing",
			},
			only:  []string{"broker/brokertest"},
			tests: true,
			why:   testOnly,
		},
	}
}

func (l library) covers(importPath string) bool {
	return slices.ContainsFunc(l.paths, func(p string) bool { return importPath == p || strings.HasPrefix(importPath, p+"/") })
}

func strayLibraries(m *module) (found []violation) {
	for _, p := range m.packages {
		for _, f := range p.files {
			for _, spec := range f.syntax.Imports {
				for _, lib := range libraries() {
					may := slices.Contains(lib.only, p.path) || lib.tests && f.test
					if lib.covers(imports(spec)) && !may {
						found = append(found, m.at(spec.Pos(), "%s must not be imported here: %s", imports(spec), lib.why))
					}
				}
			}
		}
	}
	return found
}

func strayLibrarySeeds() []seed {
	return []seed{
		{
			name: "a second WebSocket library",
			files: map[string]string{
				"internal/ws/ws.go":      "package ws\nimport _ \"github.com/coder/websocket\"\n",
				"internal/ws/ws_test.go": "package ws\nimport _ \"github.com/gorilla/websocket\"\n",
				"dashboard/live.go":      "package dashboard\nimport ws \"golang.org/x/net/websocket\"\nvar _ ws.Conn\n",
			},
			want: []string{
				"dashboard/live.go:2: golang.org/x/net/websocket must not be imported here: the only WebSocket engine here is internal/ws",
				"internal/ws/ws.go:2: github.com/coder/websocket must not be imported here: the only WebSocket engine here is internal/ws",
				"internal/ws/ws_test.go:2: github.com/gorilla/websocket must not be imported here: the only WebSocket engine here is internal/ws",
			},
		},
		{
			name: "a package of the library, and of x/tools",
			files: map[string]string{
				"wire/json.go": "package wire\nimport _ \"github.com/coder/websocket/wsjson\"\n",
				"wire/txt.go":  "package wire\nimport _ \"golang.org/x/tools/txtar\"\n",
			},
			want: []string{
				"wire/json.go:2: github.com/coder/websocket/wsjson must not be imported here: the only WebSocket engine here is internal/ws",
				"wire/txt.go:2: golang.org/x/tools/txtar must not be imported here: it would be in the go.sum of every embedder",
			},
		},
		{
			name: "a model's SDK elsewhere than in its package",
			files: map[string]string{
				"agent/openai/openai.go":     "package openai\nimport _ \"github.com/openai/openai-go/v3\"\n",
				"agent/agent.go":             "package agent\nimport _ \"github.com/openai/openai-go/v3/option\"\n",
				"internal/docsagent/docs.go": "package docsagent\nimport _ \"" + root + "/agent\"\n",
			},
			want: []string{"agent/agent.go:2: github.com/openai/openai-go/v3/option must not be imported here: a program links it only if it takes that model"},
		},
		{
			name:  "a test library in the product",
			files: map[string]string{"wire/check.go": "package wire\nimport _ \"testing\"\n"},
			want:  []string{"wire/check.go:2: testing must not be imported here: it would be linked into every program"},
		},
		{
			name: "where they belong",
			files: map[string]string{
				"client/dial.go":             "package client\nimport _ \"github.com/coder/websocket\"\n",
				"internal/bench/load.go":     "package bench\nimport _ \"github.com/coder/websocket\"\n",
				"internal/ws/ws_test.go":     "package ws\nimport _ \"github.com/coder/websocket\"\n",
				"broker/brokertest/suite.go": "package brokertest\nimport _ \"testing\"\n",
				"testingtools/tools.go":      "package testingtools\nimport _ \"testingground\"\n",
			},
		},
	}
}
