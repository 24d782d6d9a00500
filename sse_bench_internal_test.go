package switchboard

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard/internal/ws"
	"github.com/netra-systems/switchboard/wire"
)

// nowhere is an answer that nobody reads.
type nowhere struct{ h http.Header }

func (w nowhere) Header() http.Header         { return w.h }
func (w nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w nowhere) WriteHeader(int)             {}
func (w nowhere) Flush()                      {}

// BenchmarkEvent is what one message of 256 bytes costs on an event stream, beyond what it
// costs on a WebSocket, for clients with so many topics.
func BenchmarkEvent(b *testing.B) {
	for _, topics := range []int{2, 20} {
		b.Run(fmt.Sprint(topics, " topics"), func(b *testing.B) {
			w := nowhere{http.Header{}}
			s := newStream(w, http.NewResponseController(w), httptest.NewRequest("GET", "/events", nil))
			had := wire.Restore{Positions: map[string]wire.Position{}}
			for i := range topics {
				had.Positions[fmt.Sprint("room/r", i)] = wire.Position{Epoch: "k3f9", Offset: 1}
			}
			s.restore(had)
			var frames [][]byte
			for n := range 100 {
				frames = append(frames, ws.AppendFrame(nil, ws.OpText, fmt.Appendf(nil, `{"topic":"room/r0","offset":%d,"type":"note","payload":{"x":%q}}`, n+1, strings.Repeat("x", 200))))
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Write(frames[i%len(frames)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
