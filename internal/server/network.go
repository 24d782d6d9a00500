package server

import "context"

// networkKey is the key of a context whose request came from the network.
type networkKey struct{}

func fromNetwork(ctx context.Context) bool { return ctx.Value(networkKey{}) != nil }
