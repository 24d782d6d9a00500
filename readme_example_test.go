package switchboard_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/client"
)

// Example is the program in README.md.
func Example() {
	ctx := context.Background()
	m, err := switchboard.New(switchboard.Options{Auth: auth.Development()}) // loopback only
	if err != nil {
		log.Fatal(err)
	}
	defer m.Shutdown(ctx)
	m.Handle("order", switchboard.Typed(func(ctx context.Context, c *switchboard.Conn, o struct{ Item string }) error {
		everywhere := switchboard.User(c.Identity().User) // all devices of the sender
		_, err := m.Publish(ctx, everywhere, switchboard.Message{Type: "order_accepted", Payload: o})
		return err
	}))
	srv := httptest.NewServer(m.ClientAPI()) // or any http.Server, beside what it has
	defer srv.Close()

	phone, err := client.Dial(ctx, client.Options{URL: srv.URL + "/ws?user=alice"})
	if err != nil {
		log.Fatal(err)
	}
	defer phone.Close()
	messages := phone.Messages(ctx)
	ack, err := phone.Send(ctx, client.Message{Type: "order", Payload: map[string]string{"item": "tea"}})
	fmt.Println(ack.Status, err)
	for msg := range messages {
		if msg.Type == "order_accepted" {
			fmt.Println(msg.Topic, msg.Offset, string(msg.Payload))
			break
		}
	}
	// Output:
	// ok <nil>
	// user/alice 1 {"Item":"tea"}
}
