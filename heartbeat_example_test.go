package switchboard_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/client"
)

func ExampleConnections_Ping() {
	m, err := switchboard.New(switchboard.Options{Auth: func(_ context.Context, c switchboard.Credential) (switchboard.Identity, error) {
		return switchboard.Identity{User: c.Token}, nil
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	srv := httptest.NewServer(m.ClientAPI())
	defer srv.Close()
	defer func() { _ = m.Shutdown(ctx) }()
	alice, err := client.Dial(ctx, client.Options{
		URL:   "ws" + strings.TrimPrefix(srv.URL, "http") + "/ws",
		Token: func(context.Context) (string, error) { return "alice", nil },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = alice.Close() }()
	ping := func(id string) {
		d, err := m.Connections().Ping(ctx, id)
		switch {
		case errors.Is(err, switchboard.ErrNotFound):
			fmt.Println("it is gone")
		case errors.Is(err, context.DeadlineExceeded):
			fmt.Println("no answer within a second")
		case err == nil:
			fmt.Println("it answers", d < time.Second)
		}
	}
	for info, err := range m.Connections().List(ctx, switchboard.User("alice")) {
		if err == nil {
			ping(info.ID)
		}
	}
	ping("conn_gone")
	// Output:
	// it answers true
	// it is gone
}
