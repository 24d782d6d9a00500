// Package ws speaks the server side of RFC 6455 and runs many WebSocket
// connections at little cost. It knows frames and sockets; it does not know what
// the messages mean, who sent them, or that a connection belongs to anyone.
//
// It has three parts, usable on their own:
//
//   - the codec: [AppendFrame] and its kin build frames, [Decoder] takes them apart.
//     The decoder is a state machine over bytes, not a reader: it is fed whatever a
//     read brought and needs memory only while a message is incomplete.
//   - the opening handshake: [CheckUpgrade] and [Upgrade] take a connection over
//     from net/http.
//   - the engine: an [Engine] owns the sockets, tells a [Sink] what arrives, and
//     writes without ever waiting. [GoroutineEngine] works with every net.Conn.
//
// [Pipe] is an in-memory connection for tests.
package ws
