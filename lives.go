package switchboard

import (
	"context"
	"sync"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// lives has the contexts of those connections for which somebody asked for one. An idle
// connection has none.
type lives struct {
	mu   sync.Mutex // guards of
	of   map[hub.Handle]life
	base context.Context // parent of all
}

type life struct {
	ctx context.Context
	end context.CancelCauseFunc
}

// context returns the context of c, which has ended if c has.
func (l *lives) context(m *Manager, c hub.Handle, tenant string) context.Context {
	l.mu.Lock()
	found, ok := l.of[c]
	if !ok {
		found.ctx, found.end = context.WithCancelCause(WithTenant(l.base, tenant))
		if l.of == nil {
			l.of = make(map[hub.Handle]life)
		}
		l.of[c] = found
	}
	l.mu.Unlock()
	if !ok && m.hub.ID(c) == "" {
		// It has ended before the context was there to be told.
		l.end(c, CloseError{Code: closeUnknown})
	}
	return found.ctx
}

// closeUnknown is the code of a connection of which nobody knows any more how it ended.
const closeUnknown wire.CloseCode = 1006

// end ends the context of c, if there is one.
func (l *lives) end(c hub.Handle, why CloseError) {
	l.mu.Lock()
	found, ok := l.of[c]
	delete(l.of, c)
	l.mu.Unlock()
	if ok {
		found.end(why)
	}
}
