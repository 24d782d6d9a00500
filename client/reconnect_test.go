package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// welcomeThen greets and then does something.
func welcomeThen(then script) script {
	return func(p *peer) {
		p.welcome("c1", "user/alice", "e1:0")
		then(p)
	}
}

// back expects a client that resumes, and sends it a note.
func back(p *peer) {
	p.welcome("c2", "user/alice", "e1:0")
	p.restore()
	p.note("user/alice", 1)
	p.untilClosed()
}

func TestSomeEndsAreFinal(t *testing.T) {
	closeWith := func(code wire.CloseCode) script {
		return func(p *peer) { p.close(code, "no more") }
	}
	tests := []struct {
		name  string
		first script
		then  []script
		close wire.CloseCode
		code  wire.Code
	}{
		{"logout", closeWith(wire.CloseNormal), nil, 1000, ""},
		{"revoked", closeWith(wire.CloseRevoked), nil, 4002, ""},
		{"replaced by a newer connection", closeWith(wire.CloseReplaced), nil, 4003, ""},
		{"policy", closeWith(wire.ClosePolicy), nil, 1008, ""},
		{"forbidden when it comes back", (*peer).cut, []script{
			func(p *peer) { p.refuse(403, wire.CodeForbidden) },
		}, 0, wire.CodeForbidden},
		{"expired, and the new token is refused too", closeWith(wire.CloseExpired), []script{
			func(p *peer) { p.refuse(401, wire.CodeAuthError) },
		}, 0, wire.CodeAuthError},
		{"session and credential are refused", (*peer).cut, []script{
			func(p *peer) { p.refuse(401, wire.CodeAuthError) },
			func(p *peer) { p.accept(); p.error("", wire.CodeAuthError, nil); p.close(wire.ClosePolicy, "no") },
		}, 1008, wire.CodeAuthError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := dial(t, serve(t, append([]script{welcomeThen(tt.first)}, tt.then...)...))
				got, ok := errors.AsType[*client.Error](messages(t, c).expectEnd())
				if !ok || got.Close != tt.close || got.Code != tt.code {
					t.Fatalf("got end %v, want close %d and code %q", got, tt.close, tt.code)
				}
				if _, err := c.Send(t.Context(), client.Message{Type: "order"}); !errors.Is(err, got) {
					t.Errorf("got error %v for a message, want the same", err)
				}
				if err := messages(t, c).expectEnd(); !errors.Is(err, got) {
					t.Errorf("got end %v for another reader, want the same", err)
				}
				time.Sleep(time.Minute) // a further connection would fail the test
			})
		})
	}
}

func TestAllOtherEndsAreRepaired(t *testing.T) {
	for name, end := range map[string]script{
		"cut":            (*peer).cut,
		"going away":     func(p *peer) { p.close(wire.CloseGoingAway, "") },
		"internal":       func(p *peer) { p.close(wire.CloseInternal, "") },
		"restart":        func(p *peer) { p.close(wire.CloseRestart, "") },
		"unwritable":     func(p *peer) { p.close(wire.CloseTryAgain, "") },
		"protocol error": func(p *peer) { p.close(wire.CloseProtocolError, "") },
		"a binary frame": func(p *peer) {
			_ = p.conn.Write(context.Background(), websocket.MessageBinary, []byte("x"))
			p.untilClosed()
		},
		"the server hangs":  func(p *peer) { p.untilClosed() },
		"a refused restore": (*peer).cut,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scripts := []script{welcomeThen(end), back}
				if name == "a refused restore" {
					scripts = slices.Insert(scripts, 1, func(p *peer) {
						p.welcome("c1", "user/alice", "e1:0")
						p.error(p.expect(wire.SessionRestore, nil).ID, wire.CodeUnavailable, map[string]any{"retry_after_ms": 1000})
						p.untilClosed()
					})
				}
				messages(t, dial(t, serve(t, scripts...))).expect("user/alice-1")
			})
		})
	}
}

func TestWhatIsNoMessageIsFinal(t *testing.T) {
	for _, frame := range []string{`{"type":`, `{"type":"gap","payload":{"to":"x"}}`, `{"type":"error_message","error_code":1}`} {
		synctest.Test(t, func(t *testing.T) {
			c := dial(t, serve(t, welcomeThen(func(p *peer) {
				p.sendRaw(frame)
				p.untilClosed()
			})))
			if _, ok := errors.AsType[*wire.ParseError](messages(t, c).expectEnd()); !ok {
				t.Errorf("got another end after %s", frame)
			}
		})
	}
}

func TestARefusedSessionFallsBackToTheCredentialAndKeepsPositions(t *testing.T) {
	for name, refuse := range map[string]script{
		"before the upgrade": func(p *peer) { p.refuse(http.StatusUnauthorized, wire.CodeAuthError) },
		"after the upgrade":  func(p *peer) { p.accept(); p.error("", wire.CodeAuthError, nil); p.close(wire.ClosePolicy, "no") },
		"expired":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				withToken := func(p *peer) {
					if p.sessionToken() != "" || p.r.Header.Get("Authorization") != "Bearer jwt 2" || p.r.URL.RawQuery != "resume=1" {
						t.Errorf("got session %q, header %q, query %q, want the second token and resume=1",
							p.sessionToken(), p.r.Header.Get("Authorization"), p.r.URL.RawQuery)
					}
					p.welcomeWith(wire.Welcome{ConnectionID: "c2", Session: wire.SessionInfo{ID: "ses_2"}}, "user/alice", "e1:9")
					r := p.restore()
					if r.Positions["user/alice"] != position("e1:1") || r.Replace != "" {
						t.Errorf("got %+v, want to go on from e1:1 and to replace nothing of another session", r)
					}
					p.note("user/alice", 2)
					p.untilClosed()
				}
				end := (*peer).cut
				if refuse == nil {
					end = func(p *peer) { p.close(wire.CloseExpired, "token expired") }
				}
				scripts := []script{welcomeThen(func(p *peer) { p.note("user/alice", 1); end(p) }), refuse, withToken}
				opts := serve(t, slices.DeleteFunc(scripts, func(s script) bool { return s == nil })...)
				asked := 0
				opts.Token = func(context.Context) (string, error) {
					asked++
					return fmt.Sprintf("jwt %d", asked), nil
				}
				in := messages(t, dial(t, opts))
				in.expect("user/alice-1")
				in.expect("user/alice-2")
			})
		})
	}
}

func TestATokenThatCannotBeHadNowIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := serve(t, welcomeThen(func(p *peer) { p.close(wire.CloseExpired, "") }), back)
		asked := 0
		opts.Token = func(context.Context) (string, error) {
			if asked++; asked == 2 || asked == 3 {
				return "", errors.New("the login server is away")
			}
			return "jwt", nil
		}
		messages(t, dial(t, opts)).expect("user/alice-1")
	})
}

func TestTheServerSaysWhenToReconnect(t *testing.T) {
	tests := []struct {
		name   string
		end    script
		refuse script
		min    time.Duration
	}{
		{"server_shutdown", func(p *peer) {
			p.send(wire.Envelope{Type: wire.ServerShutdown, Payload: raw(wire.ServerShutdownPayload{ReconnectAfterMS: 4000})})
			p.close(wire.CloseRestart, "restarting")
		}, nil, 4 * time.Second},
		{"Retry-After in seconds", (*peer).cut, func(p *peer) { p.refuse(503, wire.CodeUnavailable, "Retry-After", "7") }, 7 * time.Second},
		{"Retry-After as a date", (*peer).cut, func(p *peer) {
			p.refuse(429, wire.CodeRateLimited, "Retry-After", time.Now().Add(9*time.Second).UTC().Format(http.TimeFormat))
		}, 8 * time.Second},
		{"retry_after_ms", (*peer).cut, func(p *peer) {
			p.accept()
			p.error("", wire.CodeUnavailable, map[string]any{"retry_after_ms": 3000})
			p.close(wire.CloseTryAgain, "later")
		}, 3 * time.Second},
		{"a mistake", (*peer).cut, func(p *peer) { p.refuse(503, wire.CodeUnavailable, "Retry-After", "4000000000") }, 10 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scripts := []script{welcomeThen(tt.end), tt.refuse, back}
				c := dial(t, serve(t, slices.DeleteFunc(scripts, func(s script) bool { return s == nil })...))
				start := time.Now()
				in := messages(t, c)
				for {
					env, err, ok := in.next()
					if err != nil || !ok {
						t.Fatalf("got error %v, end %t, want a note", err, !ok)
					}
					if env.Type == "note" {
						break
					}
				}
				if got := time.Since(start); got < tt.min || got > tt.min+3*time.Second/2 {
					t.Errorf("got back after %v, want %v and a little", got, tt.min)
				}
			})
		})
	}
}

// TestAttemptsGetRarer counts the attempts against a server that always refuses.
func TestAttemptsGetRarer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		scripts := []script{welcomeThen((*peer).cut)}
		for range 40 {
			scripts = append(scripts, func(p *peer) {
				at = append(at, time.Now())
				p.w.WriteHeader(http.StatusBadGateway)
			})
		}
		start := time.Now()
		messages(t, dial(t, serve(t, append(scripts, back)...))).expect("user/alice-1")
		if first := at[0].Sub(start); first > 100*time.Millisecond {
			t.Errorf("got the first attempt after %v, want at most 100 ms", first)
		}
		for i := 1; i < len(at); i++ {
			if pause := at[i].Sub(at[i-1]); pause > 10*time.Second || pause <= 0 {
				t.Errorf("got a pause of %v before attempt %d, want at most 10 s", pause, i)
			}
		}
		// 32 pauses at the cap have a mean of 5 s; this is more than 5 standard deviations off.
		if total := time.Since(start); total < 75*time.Second || total > 255*time.Second {
			t.Errorf("got %v for 40 attempts, want about 165 s", total)
		}
	})
}

func TestALongConnectionStartsTheBackoffAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended time.Time
		var waited []time.Duration
		lives := func(d time.Duration) script {
			return func(p *peer) {
				again := !ended.IsZero()
				if again {
					waited = append(waited, time.Since(ended))
				}
				p.welcomeWith(wire.Welcome{ConnectionID: "c", Config: wire.Config{HeartbeatInterval: 3600}}, "user/alice", "e1:0")
				if again {
					p.restore()
				}
				time.Sleep(d)
				ended = time.Now()
				p.cut()
			}
		}
		scripts := []script{lives(0)}
		for range 20 {
			scripts = append(scripts, lives(time.Minute))
		}
		messages(t, dial(t, serve(t, append(scripts, back)...))).expect("user/alice-1")
		for _, d := range waited {
			if d > 200*time.Millisecond {
				t.Errorf("got a pause of %v after a long connection, want a short one", d)
			}
		}
	})
}

func TestCloseEndsTheAttemptsToReconnect(t *testing.T) {
	for name, again := range map[string]script{
		"while it waits":    nil,
		"while it connects": func(p *peer) { p.accept(); p.untilClosed() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := welcomeThen(func(p *peer) {
					after := 0
					if again == nil {
						after = 3_600_000
					}
					p.send(wire.Envelope{Type: wire.ServerShutdown, Payload: raw(wire.ServerShutdownPayload{ReconnectAfterMS: after})})
					p.cut()
				})
				scripts := slices.DeleteFunc([]script{first, again}, func(s script) bool { return s == nil })
				c := dial(t, serve(t, scripts...))
				in := messages(t, c)
				time.Sleep(time.Second)
				start := time.Now()
				_ = c.Close()
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("got closed after %v, want soon", took)
				}
				if err := in.expectEnd(); err != nil {
					t.Errorf("got end %v, want none", err)
				}
			})
		})
	}
}

// TestEveryMessageComesOnceAndInOrder cuts connections at random places, with restores that
// come in time or too late, and logs that begin anew.
func TestEveryMessageComesOnceAndInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		lives := rapid.IntRange(1, 6).Draw(rt, "connections")
		plan := make([]struct {
			late, anew bool
			sent       int
		}, lives)
		for i := range plan {
			plan[i].late = rapid.Bool().Draw(rt, "late")
			plan[i].anew = rapid.Bool().Draw(rt, "anew")
			plan[i].sent = rapid.IntRange(0, 5).Draw(rt, "sent")
		}
		synctest.Test(t, func(t *testing.T) {
			log := &modelLog{}
			var scripts []script
			for i, life := range plan {
				scripts = append(scripts, func(p *peer) {
					p.welcome("c", "user/alice", log.head().String())
					if i > 0 {
						log.grow(life.sent)
						if life.late {
							for _, n := range log.since(log.welcomed) {
								p.note("user/alice", n.Offset)
							}
						}
						log.replay(p)
					}
					if life.anew && i > 0 {
						log.anew(p)
					}
					for range life.sent {
						log.grow(1)
						p.note("user/alice", log.head().Offset)
					}
					log.grow(1) // lost with the connection
					if i == len(plan)-1 {
						p.note("user/alice", log.head().Offset)
						p.send(wire.Envelope{Type: "end"})
						p.untilClosed()
						return
					}
					p.cut()
				})
			}
			in := messages(t, dial(t, serve(t, scripts...)))
			var got []wire.Position
			for {
				env, err, ok := in.next()
				if err != nil || !ok {
					t.Fatalf("got error %v, end %t, want the end message", err, !ok)
				}
				if env.Type == "end" {
					break
				}
				if env.Type == "note" {
					got = append(got, env.Position())
				}
			}
			if !slices.Equal(got, log.all) {
				t.Errorf("got %v, want %v", got, log.all)
			}
		})
	})
}

// modelLog is a topic's log of the simplest kind. It is used by one script at a time.
type modelLog struct {
	epoch    int
	all      []wire.Position // ever appended
	welcomed wire.Position   // what the last welcome told
}

func (l *modelLog) name() string { return fmt.Sprintf("e%d", l.epoch) }

func (l *modelLog) head() wire.Position {
	l.welcomed = wire.Position{Epoch: l.name()}
	if n := len(l.all); n > 0 && l.all[n-1].Epoch == l.name() {
		l.welcomed = l.all[n-1]
	}
	return l.welcomed
}

func (l *modelLog) grow(n int) {
	for range n {
		welcomed := l.welcomed
		next := l.head()
		next.Offset++
		l.all = append(l.all, next)
		l.welcomed = welcomed
	}
}

func (l *modelLog) since(p wire.Position) []wire.Position {
	if p.Offset == 0 && (len(l.all) == 0 || l.all[0].Epoch == p.Epoch) {
		return l.all
	}
	for i, q := range l.all {
		if q.Epoch == p.Epoch && q.Offset > p.Offset {
			return l.all[i:]
		}
	}
	return nil
}

// replay answers a restore and sends what was missed.
func (l *modelLog) replay(p *peer) {
	from := p.restore().Positions["user/alice"]
	for _, q := range l.since(from) {
		p.note("user/alice", q.Offset)
	}
}

// anew begins a new epoch and tells so.
func (l *modelLog) anew(p *peer) {
	from := l.head()
	l.epoch++
	p.send(wire.Envelope{Type: wire.GapType, Payload: raw(wire.Gap{
		Topic: "user/alice", From: from, To: l.head(), Reason: wire.ReasonEpochChanged,
	})})
}
