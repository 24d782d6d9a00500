// Package client connects Go programs to Switchboard as users do. A [Client] reconnects
// and resumes its session, drops what it has seen, and sends each message once.
//
//	c, err := client.Dial(ctx, client.Options{URL: "wss://example.com/ws", Token: token})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	messages := c.Messages(ctx) // before sending, so that no answer is missed
//	if _, err := c.Send(ctx, client.Message{Type: wire.UserMessage, Payload: question}); err != nil {
//		return err
//	}
//	for msg, err := range messages {
//		…
//	}
//
// The client keeps the position of each topic that it follows. After a lost connection it
// comes back with its session token, says where it stands, and gets what it missed before
// anything new. What the server cannot deliver any more it tells as a message of type gap.
//
// Text streams, such as the answer of an agent that is being written, come as messages of
// type stream_chunk that hold what is new, and [Client.Text] has each text so far. After a
// lost connection they go on at the same code point. A process that starts again goes on
// with [Options.Since] and [Options.Lengths].
package client
