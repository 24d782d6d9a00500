// Package arch keeps the shape of the module. It has no code of its own, only
// tests, so that `go test ./...` alone enforces what they say: which package may
// import which, that there is one registry of connections, one manager and one
// list of message types, and that files stay short enough to be read.
//
// Each rule is a fence: a function from the parsed and type-checked module to the
// places that break it, together with small programs that break it on purpose. A
// fence that no longer catches its own programs fails, so none can fall asleep.
//
// The fences read syntax and types. They do not see connections that hide behind
// any or in a closure, or a type that is built from strings at run time; for those
// the module relies on construction: only the hub can reach a socket.
package arch
