package hub

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard/wire"
)

// owed returns a connection of alice's that has 5 code points of a text of her topic that has
// ended, and is owed the rest.
func owed(t *testing.T, r *rig, thread string, do func(*client) error) (*client, *testText) {
	t.Helper()
	alice := user("alice")
	s := r.stream(alice, "R/answer", thread)
	r.write(s, "some very long text", false)
	r.finish(s)
	time.Sleep(time.Minute) // the stream is known no more
	synctest.Wait()
	return r.openAfter(alice, func(c *client) error {
		if err := r.hub.OweText(c.h, keyOf(alice), s.Stream, 5, uint64(len(s.text)), true); err != nil {
			return err
		}
		return do(c)
	}), s
}

func nothing(*client) error { return nil }

func (r *rig) readingOf(c *client) reading {
	rec := r.hub.lock(c.h)
	defer r.hub.unlock(rec, c.h.slot())
	return *r.hub.readings.at(rec.reading)
}

func TestWhatIsOwedOfATextComesThoughTheTextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		c, s := owed(t, r, "", nothing)
		synctest.Wait()
		got := c.read(t, map[string]int{s.ID: 5})
		got.want(s.ID, "?????very long text")
		r.publish(user("alice"))
		synctest.Wait()
		if n := r.readingOf(c); len(n.owed) > 0 || len(n.at) > 0 {
			t.Errorf("got %+v and cursors %+v, want none", n.owed, n.at)
		}
		if err := r.hub.OweText(c.h, keyOf(user("alice")), s.Stream, 10, uint64(len(s.text)), true); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if chunks := readChunks(t, c); len(chunks) != 2 || chunks[1].Start != 10 || chunks[1].Text != "long text" {
			t.Errorf("got chunks %+v, want the rest again from where it is owed again", chunks)
		}
	})
}

// readChunks are the chunks that a connection was sent, wherever they begin.
func readChunks(t *testing.T, c *client) (chunks []wire.StreamChunkPayload) {
	t.Helper()
	for _, f := range c.got.frames() {
		if env, err := wire.ParseAnswer([]byte(f)); err == nil && env.Type == wire.StreamChunk {
			var p wire.StreamChunkPayload
			if err := env.Decode(&p); err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, p)
		}
	}
	return chunks
}

func TestWhatIsOwedOfATextComesWhileItsThreadIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		c, s := owed(t, r, "t1", func(c *client) error { return r.hub.Watch(c.h, "t2") })
		r.publish(user("alice"))
		synctest.Wait()
		if chunks := readChunks(t, c); len(chunks) > 0 {
			t.Errorf("got %+v of a thread that is not watched", chunks)
		}
		if err := r.hub.Watch(c.h, "t1"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.read(t, map[string]int{s.ID: 5}).want(s.ID, "?????very long text")
	})
}

// Behind a gap, and behind all that the log has, what is owed comes too.
func TestWhatIsOwedOfATextComesBehindAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		alice := user("alice")
		r.publish(alice)
		c, s := owed(t, r, "", func(c *client) error {
			r.publish(alice)
			r.keep(alice, 1) // what ended the text is gone
			return r.hub.Seek(c.h, keyOf(alice), wire.Position{Epoch: "e1", Offset: 1})
		})
		synctest.Wait()
		got := c.read(t, map[string]int{s.ID: 5})
		got.want(s.ID, "?????very long text")
		if n := len(got.order); n != 3 || got.order[0] != "gap" || got.order[2] != "text R/answer 19" {
			t.Errorf("got %q, want a gap, a message and the text", got.order)
		}
	})
}

// Who leaves is owed nothing, also if it comes back: nothing is known then of how much it has.
func TestWhoLeavesARoomIsOwedNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		hall := room("hall")
		s := r.stream(hall, "R/answer", "t1")
		r.write(s, "some very long text", false)
		r.finish(s)
		c := r.openAfter(user("alice"), func(c *client) error { return r.hub.Watch(c.h, "t2") })
		c.join(hall)
		if err := r.hub.OweText(c.h, keyOf(hall), s.Stream, 5, uint64(len(s.text)), true); err != nil {
			t.Fatal(err)
		}
		r.hub.Unfollow(c.h, keyOf(hall))
		if err := r.hub.OweText(c.h, keyOf(hall), s.Stream, 5, uint64(len(s.text)), true); !errors.Is(err, ErrGone) {
			t.Errorf("got %v, want %v", err, ErrGone)
		}
		c.join(hall)
		if err := r.hub.Watch(c.h, "t1"); err != nil {
			t.Fatal(err)
		}
		r.publish(hall)
		synctest.Wait()
		if chunks := readChunks(t, c); len(chunks) > 0 {
			t.Errorf("got %+v", chunks)
		}
	})
}
