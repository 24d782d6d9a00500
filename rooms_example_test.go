package switchboard_test

import (
	"context"
	"fmt"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

func ExampleRooms_Info() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	info, err := m.Rooms().Info(ctx, "orders")
	fmt.Println(info.Members, info.Followers, info.Newest, err)
	// Output:
	// 0 0 0001-01-01 00:00:00 +0000 UTC <nil>
}

func ExampleManager_ReadMarkers() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	for mark, err := range m.ReadMarkers(ctx, "alice") {
		fmt.Println(mark.Thread, mark.Room, mark.Position, err)
	}
	fmt.Println("she has marked nothing yet")
	// Output:
	// she has marked nothing yet
}

func ExampleManager_Publish_agentTyping() {
	ctx := context.Background()
	m, _, stop := start(ctx, switchboard.Options{})
	defer stop()
	var err error
	_, err = m.Publish(ctx, switchboard.User("alice"), switchboard.Message{
		Type: wire.AgentTyping, Class: wire.Volatile, Thread: "t1",
		Payload: wire.TypingPayload{AgentName: "writer", IsTyping: true, ExpiresIn: 5},
	})
	fmt.Println(err)
	// Output:
	// <nil>
}
