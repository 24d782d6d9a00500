package switchboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

// tokenIsUser stands for a login: whoever knows a name is that user, and may do everything
// in the room "team".
func tokenIsUser(_ context.Context, cred switchboard.Credential) (switchboard.Identity, error) {
	if cred.Token == "" {
		return switchboard.Identity{}, switchboard.ErrUnauthenticated
	}
	return switchboard.Identity{User: cred.Token, Permissions: []string{"room:team:*"}}, nil
}

// browser is a client as a web page has one.
type browser struct{ *websocket.Conn }

func open(ctx context.Context, srv *httptest.Server, user string) (browser, error) {
	c, _, err := websocket.Dial(ctx, strings.Replace(srv.URL, "http", "ws", 1)+"/ws", &websocket.DialOptions{
		HTTPHeader: http.Header{"Authorization": {"Bearer " + user}},
	})
	if err != nil {
		return browser{}, err
	}
	b := browser{c}
	b.next(ctx) // the welcome
	return b, nil
}

func (b browser) next(ctx context.Context) wire.Envelope {
	_, frame, err := b.Read(ctx)
	if err != nil {
		fmt.Println(err)
		return wire.Envelope{}
	}
	env, err := wire.ParseAnswer(frame)
	if err != nil {
		fmt.Println(err)
	}
	return env
}

func (b browser) say(ctx context.Context, message string) {
	if err := b.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		fmt.Println(err)
	}
}

// start serves a manager on the loopback interface until stop is called.
func start(ctx context.Context, opts switchboard.Options) (m *switchboard.Manager, srv *httptest.Server, stop func()) {
	opts.Auth = tokenIsUser
	m, err := switchboard.New(opts)
	if err != nil {
		panic(err)
	}
	srv = httptest.NewServer(m.ClientAPI())
	return m, srv, func() {
		if err := m.Shutdown(ctx); err != nil {
			fmt.Println(err)
		}
		srv.Close()
	}
}

func ExampleNew() {
	ctx := context.Background()
	m, err := switchboard.New(switchboard.Options{
		Auth:      tokenIsUser,
		Heartbeat: switchboard.HeartbeatFor("production"),
		Origins:   []string{"https://app.example.com"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/ws", m) // beside whatever the server has already
	srv := httptest.NewServer(mux)
	defer srv.Close()

	page, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	page.say(ctx, `{"type":"ping"}`)
	fmt.Println(page.next(ctx).Type)

	ended := make(chan error)
	go func() {
		_, _, err := page.Read(ctx) // server_shutdown
		_, _, err = page.Read(ctx)
		ended <- err
	}()
	fmt.Println(m.Shutdown(ctx)) // first: it moves clients away, which srv.Close cannot
	fmt.Println(websocket.CloseStatus(<-ended))
	// Output:
	// pong
	// <nil>
	// StatusServiceRestart
}

func ExampleManager_Publish() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	phone, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer phone.CloseNow()
	shipped := switchboard.Message{Type: "order_shipped", ID: "order-1042", Payload: map[string]int{"order": 1042}}
	for range 2 { // the same id is published once
		d, err := m.Publish(ctx, switchboard.User("alice"), shipped)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(d.ID, d.Duplicate)
	}
	env := phone.next(ctx)
	fmt.Println(env.Topic, env.Type, string(env.Payload))
	// Output:
	// order-1042 false
	// order-1042 true
	// user/alice order_shipped {"order":1042}
}

func ExampleManager_Handle() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	m.Handle("whisper", func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
		var w struct{ To, Text string }
		if err := msg.Decode(&w); err != nil {
			return err // INVALID_MESSAGE, with the field that does not fit
		}
		if w.To == c.Identity().User {
			return &switchboard.Error{Code: wire.CodeForbidden, Message: "talking to yourself"}
		}
		_, err := m.Publish(ctx, switchboard.User(w.To), switchboard.Message{Type: "whispered", Payload: w})
		return err
	})
	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	bob, err := open(ctx, srv, "bob")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer bob.CloseNow()
	alice.say(ctx, `{"type":"whisper","message_id":"1","payload":{"to":"bob","text":"hi"}}`)
	fmt.Println(alice.next(ctx).Type, string(bob.next(ctx).Payload))
	alice.say(ctx, `{"type":"whisper","message_id":"2","payload":{"to":"alice","text":"hi"}}`)
	fmt.Println(alice.next(ctx).Type)
	// Output:
	// ack {"To":"bob","Text":"hi"}
	// error_message
}

func ExampleManager_Use() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	m.Use(func(next switchboard.Handler) switchboard.Handler {
		return func(ctx context.Context, c *switchboard.Conn, msg switchboard.Envelope) error {
			err := next(ctx, c, msg)
			fmt.Println(msg.Type, "by", msg.UserID, switchboard.CodeOf(err))
			return err
		}
	})
	m.Handle("order", func(context.Context, *switchboard.Conn, switchboard.Envelope) error { return switchboard.ErrBusy })
	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	alice.say(ctx, `{"type":"order"}`)
	alice.next(ctx)
	// Output:
	// order by alice BUSY
}

func ExampleTyped() {
	type order struct{ Amount int }
	handler := switchboard.Typed(func(_ context.Context, _ *switchboard.Conn, o order) error {
		fmt.Println("an order for", o.Amount)
		return nil
	})
	fmt.Println(handler(context.Background(), nil, switchboard.Envelope{Payload: json.RawMessage(`{"amount":3}`)}))
	fmt.Println(handler(context.Background(), nil, switchboard.Envelope{Payload: json.RawMessage(`{"amount":"three"}`)}))
	// Output:
	// an order for 3
	// <nil>
	// amount must be a whole number
}

func ExampleCall() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	m.Handle("double", switchboard.Call(func(_ context.Context, _ *switchboard.Conn, v struct{ N int }) (int, error) {
		return 2 * v.N, nil
	}))
	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	alice.say(ctx, `{"type":"double","message_id":"d1","payload":{"n":21}}`)
	var ack wire.Ack
	err = alice.next(ctx).Decode(&ack)
	fmt.Println(ack.Status, string(ack.Result), err)
	// Output:
	// ok 42 <nil>
}

func ExampleManager_History() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	for n := range 5 {
		if _, err := m.Publish(ctx, switchboard.Room("team"), switchboard.Message{Type: "note", Payload: map[string]int{"n": n}}); err != nil {
			fmt.Println(err)
			return
		}
	}
	page, err := m.History(ctx, switchboard.Room("team"), switchboard.Query{Limit: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, env := range page.Messages {
		fmt.Println(env.Offset, string(env.Payload))
	}
	fmt.Println(page.HasMore)
	// Output:
	// 4 {"n":3}
	// 5 {"n":4}
	// true
}

func ExampleRooms() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	for _, user := range []string{"carol", "alice", "bob"} {
		if err := m.Rooms().Add(ctx, "team", user); err != nil {
			fmt.Println(err)
		}
	}
	if err := m.Rooms().Remove(ctx, "team", "bob"); err != nil {
		fmt.Println(err)
	}
	var members []string
	for user, err := range m.Rooms().Members(ctx, "team") {
		if err != nil {
			fmt.Println(err)
		}
		members = append(members, user)
	}
	slices.Sort(members)
	fmt.Println(members)
	// Output:
	// [alice carol]
}

func ExampleConnections() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	for c, err := range m.Connections().List(ctx, switchboard.All()) {
		fmt.Println(c.User, c.Transport, err)
	}
	closed := make(chan error)
	go func() {
		_, _, err := alice.Read(ctx)
		closed <- err
	}()
	n, err := m.Connections().Close(ctx, switchboard.User("alice"), switchboard.CloseError{Code: wire.ClosePolicy, Reason: "enough"})
	fmt.Println(n, err, websocket.CloseStatus(<-closed))
	// Output:
	// alice websocket <nil>
	// 1 <nil> StatusPolicyViolation
}

func ExampleAccess() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	ticket, err := m.Access().Ticket(ctx, switchboard.Identity{User: "alice"}, time.Minute)
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 2 {
		c, resp, err := websocket.Dial(ctx, strings.Replace(srv.URL, "http", "ws", 1)+"/ws?ticket="+ticket, nil)
		fmt.Println(resp.StatusCode)
		if err == nil {
			defer c.CloseNow()
		}
	}
	// Output:
	// 101
	// 401
}

func ExampleWithTenant() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	acme := switchboard.WithTenant(ctx, "acme")
	if _, err := m.Publish(acme, switchboard.User("alice"), switchboard.Message{Type: "note"}); err != nil {
		fmt.Println(err)
	}
	for _, ctx := range []context.Context{acme, ctx} {
		page, err := m.History(ctx, switchboard.User("alice"), switchboard.Query{})
		fmt.Println(len(page.Messages), err)
	}
	// Output:
	// 1 <nil>
	// 0 <nil>
}

func ExampleCodeOf() {
	for _, err := range []error{
		nil,
		switchboard.ErrForbidden,
		fmt.Errorf("place order: %w", switchboard.ErrBusy),
		&switchboard.Error{Code: wire.CodeConflict, Message: "the order has shipped"},
		errors.New("database password is wrong"),
	} {
		fmt.Printf("%q\n", switchboard.CodeOf(err))
	}
	// Output:
	// ""
	// "FORBIDDEN"
	// "BUSY"
	// "CONFLICT"
	// "INTERNAL"
}
