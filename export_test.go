package switchboard

import (
	"maps"
	"slices"

	"github.com/netra-systems/switchboard/wire"
)

// ClientRoutes are the calls of clients: the methods of each path, none for those that upgrade.
func (m *Manager) ClientRoutes() map[string][]string {
	table := make(map[string][]string)
	for path, methods := range m.clientRoutes() {
		table[path] = slices.Sorted(maps.Keys(methods))
	}
	return table
}

// Verbs are the types of messages that the core answers.
func Verbs() []wire.MessageType { return slices.Sorted(maps.Keys(verbTable())) }
