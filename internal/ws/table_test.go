package ws

import "testing"

func TestTableNamesManyAndReusesTheLastReleased(t *testing.T) {
	var names table
	conns := make(map[Socket]*conn)
	for range 3 * chunkSockets {
		c := new(conn)
		s := names.add(c)
		if s == 0 || conns[s] != nil {
			t.Fatalf("got name %d, want one that is not in use", s)
		}
		conns[s] = c
	}
	for s, c := range conns {
		if names.get(s) != c {
			t.Fatalf("got another connection for %d", s)
		}
	}
	const s = chunkSockets + 1
	if got := names.take(s); got != conns[s] {
		t.Error("got another connection from take")
	}
	if names.get(s) != nil || names.take(s) != nil {
		t.Error("got a connection by a name that was released, want none")
	}
	if got := names.add(new(conn)); got != s {
		t.Errorf("got name %d, want the released one, %d", got, s)
	}
	if names.take(1<<32-1) != nil || names.get(0) != nil {
		t.Error("got a connection by a name never given, want none")
	}
}
