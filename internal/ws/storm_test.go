package ws

import (
	"fmt"
	"io"
	"sync"
	"testing"
)

// storm opens and closes connections from several goroutines so that names and
// descriptors are in new use at once, each while messages run both ways. Whatever a
// connection hears or its peer reads must be its own.
func storm(t *testing.T, tr transport, newEngine func(Sink, Config) Engine) {
	const workers, rounds = 4, 40
	sink := newEcho()
	sink.onEvent = func(tag uint64, text string) {
		if want := fmt.Sprintf("of %d,", tag); len(text) < len(want) || text[:len(want)] != want {
			t.Errorf("got message %q with tag %d", text, tag)
		}
	}
	e := newEngine(sink, Config{})
	sink.engine = e
	var connecting sync.Mutex // dialers take one at a time

	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() {
			for round := range rounds {
				connecting.Lock()
				client, server, err := tr.connect()
				connecting.Unlock()
				if err != nil {
					t.Error(err)
					return
				}
				s, err := e.Attach(server, nil)
				if err != nil {
					t.Error(err)
					return
				}
				tag, c := sink.add(s)
				// Some end by the client, some by the server, some in the middle of it all.
				stormRound(t, client, tag, c, (worker+round)%3)
			}
		})
	}
	wg.Wait()
	_ = e.Close()
}

func stormRound(t *testing.T, client io.ReadWriteCloser, tag uint64, c *echoConn, end int) {
	const messages = 5
	for i := range messages {
		text := fmt.Sprintf("of %d, number %d", tag, i)
		if _, err := client.Write(masked(OpText, true, text)); err != nil {
			t.Error(err)
		}
		if end == 2 && i == messages/2 {
			c.release()
			break
		}
	}
	for i := 0; ; i++ {
		if end < 2 && i == messages {
			if end == 1 {
				c.release()
			}
			_ = client.Close()
			break
		}
		op, payload, err := readFrame(client)
		if err != nil {
			if end < 2 {
				t.Errorf("got %v after %d echoes, want %d", err, i, messages)
			}
			_ = client.Close()
			break
		}
		if want := fmt.Sprintf("of %d, number %d", tag, i); op != OpText || string(payload) != want {
			t.Errorf("got %v %q, want %q", op, payload, want)
		}
	}
	if end != 0 {
		return
	}
	c.release() // the engine may have noticed the end itself
}
