package switchboard

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/netra-systems/switchboard/wire"
)

// TestWhatAMessageIsKnownToCost: what the engine hears of it, so that floods of such messages take turns.
func TestWhatAMessageIsKnownToCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := New(Options{
			Auth:      func(context.Context, Credential) (Identity, error) { return Identity{}, ErrUnauthenticated },
			Authorize: func(context.Context, Identity, Action, string) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := m.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		for i := range 500 {
			if err := m.Rooms().Add(t.Context(), "hall", fmt.Sprint("member-", i)); err != nil {
				t.Fatal(err)
			}
		}
		var head Position
		for range 80 {
			told, err := m.Publish(t.Context(), User("alice"), Message{Type: "news"})
			if err != nil {
				t.Fatal(err)
			}
			head = told.Position
		}
		var rooms, positions []string
		for i := range 100 {
			rooms = append(rooms, fmt.Sprintf(`"r%d"`, i))
			positions = append(positions, fmt.Sprintf(`"room/r%d":"e:1"`, i))
		}
		conn := opened(t, m, state{})
		for _, tt := range []struct {
			typ         wire.MessageType
			payload     string
			least, most int
		}{
			{wire.Chat, `{"content":"Hello"}`, 0, 0},
			{"ping", `{}`, 0, 0},
			{"join_room", `{"room":"small"}`, 0, 0},
			{"join_room", `{"room":"hall"}`, 500 * 10 / bytesPerWork, 500 * 20 / bytesPerWork},
			{"subscribe", `{"rooms":[` + strings.Join(rooms, ",") + `]}`, 100, 100},
			{"unsubscribe", `{"rooms":[` + strings.Join(rooms, ",") + `]}`, 100, 100},
			{"history", `{"topic":"user/alice"}`, 50 / recordsPerWork, 100 / recordsPerWork},
			{"thread_open", fmt.Sprintf(`{"before":%q}`, head), 50 / recordsPerWork, 100 / recordsPerWork},
			{"session_restore", `{"positions":{` + strings.Join(positions, ",") + `}}`, 100, 101},
		} {
			got := m.read(conn.handle, fmt.Appendf(nil, `{"type":%q,"payload":%s}`, tt.typ, tt.payload))
			if got < tt.least || got > tt.most {
				t.Errorf("%s: got the work of %d messages more, want %d to %d", tt.typ, got, tt.least, tt.most)
			}
		}
	})
}
