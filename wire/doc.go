// Package wire is the protocol in Go: envelopes and their strict codec, topics,
// positions, the one list of message types, error codes, close codes, payloads,
// and the records that drivers store.
//
// The package imports nothing of this module and keeps no state. All functions may
// be called concurrently; values are not safe for concurrent change.
//
// Decoding is strict, so that two readers of one frame can never disagree about what
// it says: duplicate keys, invalid UTF-8, more than [MaxLevels] levels and trailing
// bytes are errors, at every depth. Payloads are checked once and then passed through
// as raw bytes.
//
// Names follow one rule. The constant of a message type is its value in Go style
// ([AgentStarted] is "agent_started"). The payload of a type that clients send is the
// constant's name with Request ([SubscribeRequest]), that of a type that servers send
// is the constant's name with Payload ([SubscribedPayload]). Where a payload is part
// of the Go API it has a plain name ([Ack], [Gap], [Thread]), and a constant that
// would collide with it ends in Type ([AckType]).
package wire
