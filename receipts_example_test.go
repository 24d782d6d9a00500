package switchboard_test

import (
	"context"
	"fmt"

	"github.com/netra-systems/switchboard"
)

func ExampleManager_Receipts() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	for r, err := range m.Receipts(ctx, switchboard.User("alice")) {
		fmt.Println(r.User, r.Session, r.Delivered, r.Seen, err)
	}
	fmt.Println("nobody has acknowledged anything")
	// Output:
	// nobody has acknowledged anything
}

func ExampleConnections_Ended() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	for end, err := range m.Connections().Ended(ctx, switchboard.User("alice")) {
		fmt.Println(end.Code, end.Reason, end.Topics, err)
	}
	fmt.Println("none of hers has ended")
	// Output:
	// none of hers has ended
}
