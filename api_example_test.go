package switchboard_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/client"
	"github.com/netra-systems/switchboard/wire"
)

// What docs/go-api.md shows is in this file and in example_test.go, compiled and run.

// newManager is the first thing that docs/go-api.md shows.
func newManager(ctx context.Context, secret []byte, log *slog.Logger) (*switchboard.Manager, error) {
	login, err := auth.NewJWT(ctx, auth.JWT{Secret: secret})
	if err != nil {
		return nil, err
	}
	return switchboard.New(switchboard.Options{
		Auth:    login,
		Origins: []string{"https://app.example.com"}, // pages of other hosts that may connect
		Log:     log,
	})
}

func Example_jwt() {
	ctx := context.Background()
	secret := []byte("5f1c0b7e9a3d4c6188f2e07b6d9ca541")
	m, err := newManager(ctx, secret, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	defer m.Shutdown(ctx)

	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "alice",
		"exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	phone, err := client.Dial(ctx, client.Options{
		URL:   srv.URL + "/ws",
		Token: func(context.Context) (string, error) { return token, nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer phone.Close()
	messages := phone.Messages(ctx)
	delivery, err := m.Publish(ctx, switchboard.User("alice"), switchboard.Message{
		Type: "order_shipped", ID: "order-1042-shipped", Payload: map[string]int{"order": 1042},
	})
	if errors.Is(err, switchboard.ErrUnavailable) {
		delivery, err = m.Publish(ctx, switchboard.User("alice"), switchboard.Message{
			Type: "order_shipped", ID: "order-1042-shipped", Payload: map[string]int{"order": 1042},
		}) // nothing is known of the first attempt; with the same ID it is appended once
	}
	fmt.Println(delivery.ID, delivery.Duplicate, err)
	_, err = m.Publish(ctx, switchboard.Room("orders"), switchboard.Message{
		Type: "price", Payload: map[string]float64{"ACME": 101.5}, Class: wire.Latest, Key: "ACME", TTL: time.Hour,
	})
	fmt.Println(err)
	_, err = m.Publish(ctx, switchboard.Room("orders"), switchboard.Message{
		Type: "pointer", Payload: map[string]int{"x": 17, "y": 4}, Class: wire.Volatile,
	})
	fmt.Println(err)
	for msg := range messages {
		if msg.Type == "order_shipped" {
			fmt.Println(msg.Topic, string(msg.Payload))
			break
		}
	}
	_, err = client.Dial(ctx, client.Options{URL: srv.URL + "/ws"})
	fmt.Println(err)
	// Output:
	// order-1042-shipped false <nil>
	// <nil>
	// <nil>
	// user/alice {"order":1042}
	// AUTH_ERROR: no credential
}

func Example_rooms() {
	ctx := context.Background()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()
	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()

	room := switchboard.Room("orders")
	if err := m.Rooms().Add(ctx, "orders", "alice"); err != nil { // all her devices follow it from now on
		fmt.Println(err)
	}
	if _, err := m.Publish(ctx, room, switchboard.Message{Type: "note", Payload: map[string]string{"text": "hello"}}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(alice.next(ctx).Type, string(alice.next(ctx).Payload))
	if err := m.Rooms().Remove(ctx, "orders", "alice"); err != nil { // they stop, and are told
		fmt.Println(err)
	}
	fmt.Println(alice.next(ctx).Type)
	// Output:
	// room_joined {"text":"hello"}
	// room_left
}

func Example_handlers() {
	ctx := context.Background()
	m, srv, stop := start(ctx, switchboard.Options{})
	defer stop()

	type order struct {
		Item  string
		Count int
	}
	m.Handle("order", switchboard.Typed(func(ctx context.Context, c *switchboard.Conn, o order) error {
		if err := c.May(ctx, switchboard.ActPublish, "team"); err != nil {
			return err // FORBIDDEN: Publish itself asks nobody
		}
		if o.Count < 1 {
			return &switchboard.Error{Code: wire.CodeInvalidMessage, Message: "count must be 1 or more"}
		}
		others := switchboard.Room("team").Except(c.Session()) // the sender's device knows
		_, err := m.Publish(ctx, others, switchboard.Message{Type: "order_placed", Payload: o})
		return err // nil acknowledges the message
	}))

	alice, err := open(ctx, srv, "alice")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer alice.CloseNow()
	for _, payload := range []string{`{"item":"tea","count":2}`, `{"item":"tea"}`, `{"item":"tea","count":"two"}`} {
		alice.say(ctx, `{"type":"order","payload":`+payload+`}`)
		_, frame, err := alice.Read(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		var answer struct {
			Type    string
			Message string `json:"error_message"`
		}
		if err := json.Unmarshal(frame, &answer); err != nil {
			fmt.Println(err)
		}
		fmt.Println(strings.TrimSpace(answer.Type + " " + answer.Message))
	}
	// Output:
	// ack
	// error_message count must be 1 or more
	// error_message count must be a whole number
}

func Example_producer() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()

	run, err := m.Runs().Start(ctx, switchboard.RunOptions{
		Agent: "reporter", To: switchboard.User("alice"), Thread: "reports", ID: "report-8",
		Max: 10 * time.Minute, // then the run dies
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	out := run.Stream("report")
	if _, err := io.Copy(out, model(ctx, "How was March?")); errors.Is(err, switchboard.ErrRunCancelled) {
		return // somebody has pressed Stop; what was written stays
	}
	_, err = run.Complete(ctx, map[string]int{"pages": 1})
	fmt.Println(err)

	text, err := out.Snapshot(ctx)
	fmt.Println(text.State, text.Text, err)
	// Output:
	// <nil>
	// complete You asked: How was March? <nil>
}

func Example_pages() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	for n := range 5 {
		if _, err := m.Publish(ctx, switchboard.User("alice"), switchboard.Message{Type: "note", Payload: map[string]int{"n": n}}); err != nil {
			fmt.Println(err)
		}
	}

	q := switchboard.Query{Limit: 2}
	for {
		page, err := m.History(ctx, switchboard.User("alice"), q)
		if err != nil || len(page.Messages) == 0 {
			fmt.Println(err)
			break
		}
		for _, msg := range page.Messages { // oldest first; pages go back in time
			fmt.Println(msg.Offset, string(msg.Payload))
		}
		if !page.HasMore {
			break
		}
		q.Before = switchboard.Position{Epoch: page.Head.Epoch, Offset: page.Messages[0].Offset}
	}
	// Output:
	// 4 {"n":3}
	// 5 {"n":4}
	// 2 {"n":1}
	// 3 {"n":2}
	// 1 {"n":0}
}

func Example_errors() {
	refused := fmt.Errorf("place order: %w", &switchboard.Error{
		Code: wire.CodeConflict, Message: "the order has shipped", Details: map[string]any{"order": 1042},
	})
	fmt.Println(switchboard.CodeOf(refused), errors.Is(refused, switchboard.ErrConflict))
	fmt.Println(switchboard.CodeOf(errors.New("the database password is wrong"))) // clients do not see this text
	// Output:
	// CONFLICT true
	// INTERNAL
}
