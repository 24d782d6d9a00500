package switchboard_test

import (
	"context"
	"fmt"
	"time"

	"github.com/netra-systems/switchboard"
)

func ExampleAccess_Revoke() {
	m, err := switchboard.New(switchboard.Options{Auth: login})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	defer func() { _ = m.Shutdown(ctx) }()

	id, err := m.Access().Revoke(ctx, switchboard.Revocation{
		User: "mallory", NotBefore: time.Now().Add(24 * time.Hour), CancelRuns: true, Reason: "spam",
	})
	if err != nil {
		fmt.Println(err)
	}
	for r, err := range m.Access().Revocations(ctx) {
		fmt.Println(r.ID, r.User, r.Reason, err)
	}
	err = m.Access().Restore(ctx, id)
	fmt.Println(err)
}
