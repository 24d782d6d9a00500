// Package switchboard is the realtime layer between back ends, such as AI agents, and the
// people who use them.
//
// A [Manager] owns every connection of a process and is an http.Handler. Back-end code
// publishes to a user or a room; what is durable reaches every device of theirs in order and
// once, also those that come back later. What users send reaches handlers. A tenant is a
// wall: calls concern the tenant of their context, which is the sender's inside a handler,
// what [WithTenant] says elsewhere, else the default tenant "".
//
// # Usage
//
// Make one Manager with [New], mount it (or [Manager.ClientAPI]) in an HTTP server, and call
// [Manager.Shutdown] before that server's own:
//
//	login, err := auth.NewJWT(ctx, auth.JWT{Secret: secret})
//	m, err := switchboard.New(switchboard.Options{Auth: login})
//	m.Handle("order", switchboard.Typed(placeOrder))
//	http.Handle("/ws", m)
//
// [Manager.Publish] is the one way to send: to [User], [Room], [All], or for this moment only
// to a [Connection]. It appends to a log and returns the message's place in it; it neither
// waits for receivers nor knows whether there are any. [Manager.History] reads the log.
//
// [Manager.Handle] registers what answers a type of message: [Typed] decodes it for a function,
// and [Call] has an answer. Verbs, such as ping, join_room
// or history, are answered by the Manager itself. What users say with user_message and chat
// is appended to a log before a handler sees it, so every device sees it whether or not there
// is a handler.
//
// Rooms are followed by connections and joined by users. Following is delivery and ends with
// the connection; membership is kept, and concerns all devices of the user: see [Rooms].
//
// # Agents
//
// A [Run] is one execution of an agent: it writes events and growing texts to the topic that
// it was started for, survives the devices that watch it, and always ends. [Manager.HandleRun]
// makes an agent of a function; [Runs] starts runs for producers elsewhere, under a lease.
//
//	m.HandleRun("user_message", switchboard.RunOptions{Agent: "support"},
//		func(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
//			_, err := io.Copy(run.Stream("answer"), model(ctx, msg))
//			return err
//		})
//
// Anyone entitled may stop a run, on any device: ctx ends, and what is written afterwards is
// refused with [ErrRunCancelled]. Text and events of a run keep their order, for a live device
// as for one that comes back.
//
// # Ordering guarantees
//
// Each topic (a user, a room, all) is a log. Within one topic and epoch:
//
//   - If Publish of A returned before Publish of B was called, A's offset is below B's, on
//     whatever nodes they were called.
//   - A connection receives messages in the order of their offsets, and each once, unless its
//     client asks for a replay by session_restore.
//   - If a connection receives A and then B, it has received everything between them, or a
//     gap message in its place that tells what is missing.
//
// Messages of one connection are handled in the order in which they came, one at a time. The
// answer to subscribe, join_room or session_restore comes before the first message that it
// speaks for. A membership that begins at position j and ends at k gives its user nothing of
// the room after k.
//
// # What must not be assumed
//
//   - That topics are ordered among each other, or topics and answers.
//   - That offsets are consecutive: changes of membership take one and are not sent.
//   - That a message was delivered when Publish returns, or that it was not published when it
//     fails: after [ErrUnavailable] publish again with the same ID.
//   - That a handler runs once: a message whose handler failed, or whose answer was lost with
//     the connection, may come again with the same id. What a handler publishes without ids of
//     its own is published once all the same.
//   - That a [Conn] is the connection: it names it, and may outlive it.
//   - That handlers of different connections, or methods of a Manager, run one at a time.
//
// # Errors
//
// [CodeOf] alone decides what a client sees of an error: the code, and the text only of an
// [*Error]. Everything else is INTERNAL to the client and in the log in full.
//
// # Testing
//
// A Manager works within a testing/synctest bubble, over connections in memory, where its
// timers take no time; without a Broker it needs nothing but memory. Shutdown leaves no
// goroutine behind.
package switchboard
