// Package scenarios plays what the system before this one was tried with: its stress, audit,
// proof and ordering suites, and the thresholds of its reports. There is no code in it but
// tests; docs/scenarios.md says which scenario is which test, and what counts as passed then
// and now.
//
// Everything is real: a [switchboard.Manager] behind net/http, TCP on the loopback interface,
// the Go client where a client matters, and plain sockets where it would hide what happens.
// Networks that lose, delay and reset are Toxiproxy's, in this process.
//
// Nothing here sleeps. A test waits for what must come, and patience bounds each wait; the
// pace of a scenario, one message a second, is a ticker's. How fast something was is told by
// benchmarks and never decides whether a test passes. What a test measures of memory and
// goroutines is measured in a process of its own.
package scenarios
