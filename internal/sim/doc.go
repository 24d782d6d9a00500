// Package sim tries delivery as a whole. Each seed is a story: nodes that share a broker, clients
// that read slowly, lose their sockets at any byte and come back, publishers, runs that write
// texts, rooms that are joined and left, histories and windows that are too small, and a broker
// that drops, repeats and forgets within its contract. The manager, the hub, the socket engine and
// the broker are the real ones; only the network is in memory, and time is that of a
// testing/synctest bubble.
//
// A client follows the rule of docs/protocol.md and nothing more. An oracle knows from the logs
// themselves what each of them must have, and looks whenever the story falls silent.
//
//	go test ./internal/sim -seed 17                 one story, told
//	go test ./internal/sim -seed 17 -without 3,8-20 the same without some of its steps
//	go test ./internal/sim -seeds 5000 -first 100   that many
//
// A story that goes wrong is played again with fewer and fewer steps, until each is needed.
package sim
