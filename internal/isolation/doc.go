// Package isolation tries to get at what is somebody else's, by every public way in: sockets,
// event streams, the calls of clients and of back ends, and the Go API. Users of several tenants,
// with ids that look alike, on one or two nodes over one broker, do what clients do and what
// attackers do: they present stolen positions, connections, runs, tickets and tokens.
//
// A reference monitor, which knows nothing of how the server decides, watches every byte that
// anybody receives. Each thing that is said carries a mark of its own, and whose it is; each
// credential has an owner. One that is seen by anybody else is a failure, and so is one that does
// not reach its owner.
//
//	go test ./internal/isolation                                     in a few seconds
//	go test ./internal/isolation -rapid.checks=5000 -rapid.steps=100 for as long as you like
//
// There is no code in it but tests.
package isolation
