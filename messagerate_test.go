package switchboard_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// lines is a log that a test reads while it is written.
type lines struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// count is how many lines have a word.
func (l *lines) count(word string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), word)
}

func TestAUsersConnectionsTogetherSendNoMoreThanAUserMay(t *testing.T) {
	for _, tt := range []struct {
		limits switchboard.Limits
		each   int // sends each of eight connections
		let    int
	}{
		{switchboard.Limits{}, 120, 480},
		{switchboard.Limits{MessagesPerMinute: 10}, 10, 40},
		{switchboard.Limits{MessagesPerMinute: 10, MessagesPerUser: 25}, 10, 25},
		{switchboard.Limits{MessagesPerMinute: 10, MessagesPerUser: -1}, 10, 80},
		{switchboard.Limits{MessagesPerMinute: -1}, 150, 1200},
	} {
		t.Run(fmt.Sprintf("%d and %d", tt.limits.MessagesPerMinute, tt.limits.MessagesPerUser), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lines
				s := newServer(t, switchboard.Options{Limits: tt.limits, Log: slog.New(slog.NewTextHandler(&log, nil))})
				other := s.as(t, "acme/bob")
				let, refused := 0, 0
				for i := range 8 {
					a := s.as(t, "acme/alice")
					for n := range tt.each {
						id := fmt.Sprintf("m-%d-%d", i, n)
						a.send(`{"type":"custom","message_id":%q,"payload":{}}`, id)
						b, err := a.raw(patience)
						if err != nil {
							t.Fatal(err)
						}
						e, err := wire.ParseErrorMessage(b)
						if err != nil {
							let++
							continue
						}
						refused++
						if ms, _ := e.Details["retry_after_ms"].(float64); e.Code != wire.CodeRateLimited || e.MessageID != id || e.Details["scope"] != "user" || ms < 1 || ms > 60_000 {
							t.Fatalf("got %s", b)
						}
					}
				}
				if let != tt.let || refused != 8*tt.each-tt.let {
					t.Errorf("%d were let through and %d refused, want %d of %d", let, refused, tt.let, 8*tt.each)
				}
				other.send(`{"type":"custom","message_id":"m","payload":{}}`)
				other.ack("m") // another user has not paid for it
				if n := s.Stats().UserLimited; n != uint64(refused) {
					t.Errorf("counted %d, want %d", n, refused)
				}
				if n, want := log.count("users send too many messages"), min(refused, 1); n != want {
					t.Errorf("logged %d times, want %d", n, want)
				}
			})
		})
	}
}

// The time that is told is enough, and who closes and comes again gains nothing.
func TestAUserWhoComesAgainHasNoNewAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, switchboard.Options{Limits: switchboard.Limits{MessagesPerUser: 6}})
		send := func(c *device) *wire.ErrorMessage {
			c.send(`{"type":"custom","payload":{}}`)
			b, err := c.raw(patience)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := wire.ParseErrorMessage(b); err == nil {
				return &e
			}
			return nil
		}
		a := s.as(t, "alice")
		for range 6 {
			if e := send(a); e != nil {
				t.Fatalf("got %+v within the rate", e)
			}
		}
		a.conn.Close()
		synctest.Wait()
		a = s.as(t, "alice")
		e := send(a)
		if e == nil {
			t.Fatal("who came again has a new allowance")
		}
		time.Sleep(time.Duration(e.Details["retry_after_ms"].(float64)) * time.Millisecond)
		if e := send(a); e != nil {
			t.Errorf("got %+v after the time that was told", e)
		}
	})
}
