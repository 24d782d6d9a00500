package membroker_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/broker/membroker"
	"github.com/netra-systems/switchboard/wire"
)

// printer prints what it receives.
type printer struct{}

func (printer) Record(e broker.Entry) { fmt.Printf("received %q\n", e.Data) }

func (printer) Text(_, _ broker.Key, start int, text string) {
	fmt.Printf("received %q at %d\n", text, start)
}

func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	b := membroker.New(membroker.Options{})
	done := make(chan error)
	go func() { done <- b.Run(ctx, printer{}) }()

	alice := broker.KeyOf(wire.Topic{Kind: wire.KindUser, ID: "alice"})
	if err := b.Follow(ctx, alice); err != nil { // waits for Run
		fmt.Println(err)
	}
	hello := broker.Record{
		Topic:    alice,
		Keep:     broker.Retention{Messages: 10_000, Age: 7 * 24 * time.Hour},
		DedupeID: "m1",
		Data:     []byte("hello"),
	}
	p, err := b.Publish(ctx, hello)
	fmt.Println(p.Pos.Offset, p.Duplicate, err)
	length, err := b.Append(ctx, alice, broker.NameKey("run/answer"), 0, "Grüße", 1)
	fmt.Println(length, err)

	cancel()
	fmt.Println(<-done)
	fmt.Println(b.Close())
	// Output:
	// received "hello"
	// 1 false <nil>
	// received "Grüße" at 0
	// 5 <nil>
	// run: context canceled
	// <nil>
}

// Two managers in one process, as two nodes.
func ExampleBroker_Node() {
	ctx := context.Background()
	first := membroker.New(membroker.Options{})
	second := first.Node()
	defer first.Close()
	defer second.Close()
	rev, _ := first.Put(ctx, "lease", []byte("first"), 0, 30*time.Second)
	_, err := second.Put(ctx, "lease", []byte("second"), 0, 30*time.Second)
	fmt.Println(rev, errors.Is(err, broker.ErrConflict))
	// Output: 1 true
}

func ExampleFaults() {
	ctx := context.Background()
	b := membroker.New(membroker.Options{})
	defer b.Close()
	elect := b.Faults().KillLeader()
	_, err := b.Get(ctx, "k")
	fmt.Println(err)
	elect()
	_, err = b.Get(ctx, "k")
	fmt.Println(err)
	// Output:
	// get: broker is unavailable
	// get "k": there is no such item
}
