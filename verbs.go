package switchboard

import (
	"context"
	"errors"
	"time"

	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// verb is what the core does with a message type. Exactly one of do and quick is set.
type verb struct {
	do    func(context.Context, *inbound) error // has answered if it returns nil
	quick func(*inbound)                        // waits for nothing and cannot fail
	price int                                   // out of the control allowance; 0: it is a message
}

// verbTable lists the types that the core answers. Those of [wire.MessageType.Verb] that
// are missing are answered as UNSUPPORTED.
func verbTable() map[wire.MessageType]verb {
	ignore := func(*inbound) {}
	return map[wire.MessageType]verb{
		wire.Ping:           {quick: (*inbound).pong, price: 1},
		wire.Heartbeat:      {quick: (*inbound).heartbeatAck, price: 1},
		wire.Pong:           {quick: ignore, price: 1},
		wire.HeartbeatAck:   {quick: ignore, price: 1},
		wire.AckType:        {do: ackVerb, price: 1},
		wire.Auth:           {do: authVerb, price: 10},
		wire.Logout:         {do: logoutVerb, price: 10},
		wire.SessionRestore: {do: restoreVerb, price: 10},
		wire.Subscribe:      {do: subscribeVerb},
		wire.Unsubscribe:    {do: unsubscribeVerb},
		wire.JoinRoom:       {do: joinRoomVerb},
		wire.LeaveRoom:      {do: leaveRoomVerb},
		wire.RoomMessage:    {do: roomMessageVerb},
		wire.History:        {do: historyVerb},
		wire.ThreadOpen:     {do: threadOpenVerb},
		wire.SwitchThread:   {do: switchThreadVerb},
		wire.StopAgent:      {do: stopAgentVerb},
		wire.PresenceUpdate: {do: presenceUpdateVerb},
		wire.MarkRead:       {do: markReadVerb},
		wire.TypingStarted:  {do: typingStartedVerb, price: 2},
		wire.TypingStopped:  {do: typingStoppedVerb, price: 1},
	}
}

func (in *inbound) pong() {
	in.m.answer(in.c, wire.Pong, in.env.ID, wire.PongPayload{Timestamp: wire.Seconds(time.Now())})
}

func (in *inbound) heartbeatAck() {
	in.m.answer(in.c, wire.HeartbeatAck, in.env.ID, wire.PongPayload{Timestamp: wire.Seconds(time.Now())})
}

// hand puts a message into the lane of its connection, behind those that wait. What users
// say is appended to its topic first, so that every device sees it.
func (in *inbound) hand() error {
	view, ok := in.m.hub.View(in.c)
	if !ok {
		return hubError(hub.ErrGone)
	}
	user := view.User
	in.stamp(user)
	to := in.m.router.find(in.env.Type)
	if to.handler != nil {
		if err := in.m.lanes.room(in.c, in.size); err != nil {
			return err
		}
	}
	call := &call{c: in.c, user: user, env: in.env, size: in.size, handler: to.handler, agent: to.agent, status: wire.StatusOK}
	if in.env.Type == wire.UserMessage || in.env.Type == wire.Chat {
		ctx, cancel := context.WithTimeout(in.m.life, verbTimeout)
		defer cancel()
		if err := in.say(ctx, call); err != nil {
			return err
		}
	}
	if to.handler == nil && call.status == wire.StatusDuplicate {
		in.m.ack(in.c, in.env.ID, wire.Ack{Status: call.status, Position: call.position}, "")
		return nil
	}
	if to.handler == nil {
		in.m.count.unhandled.Add(1)
		ack := wire.Ack{Status: wire.StatusUnhandled, Position: call.position}
		in.m.ack(in.c, in.env.ID, ack, in.env.Type)
		return nil
	}
	call.seen = seenKey(user, in.env.ID)
	if !call.agent && in.m.recent.has(call.seen) {
		in.m.ack(in.c, in.env.ID, wire.Ack{Status: wire.StatusDuplicate, Position: call.position}, "")
		return nil
	}
	return in.m.lanes.enqueue(call)
}

// stamp replaces what is the server's to say in a message of user.
func (in *inbound) stamp(user wire.Topic) {
	in.env.UserID, in.env.Timestamp = user.ID, wire.Seconds(time.Now())
	in.env.Offset, in.env.StreamLengths = 0, nil
}

// say appends what a user says to the user's own topic, or to the room that the message
// names.
func (in *inbound) say(ctx context.Context, call *call) error {
	topic, err := in.spokenTo(ctx, call.user)
	if err != nil {
		return err
	}
	d, err := in.m.append(ctx, topic, call.user.ID, spoken(in.env), nil)
	if err != nil {
		return err
	}
	call.env.Topic, call.env.Offset = topic.String(), d.Position.Offset
	call.position = d.Position
	if d.Duplicate {
		call.status = wire.StatusDuplicate
	}
	return nil
}

// spokenTo is the topic that a message of the user with topic own goes to.
func (in *inbound) spokenTo(ctx context.Context, own wire.Topic) (wire.Topic, error) {
	if in.env.Topic == "" {
		return own, nil
	}
	topic, err := in.namedTopic(own)
	if err != nil || topic == own {
		return topic, err
	}
	sender, err := in.conn()
	if err != nil {
		return topic, err
	}
	return topic, in.mayPublish(ctx, sender, "topic", topic.ID)
}

// namedTopic is the topic in the envelope: a room, or the sender's own.
func (in *inbound) namedTopic(own wire.Topic) (wire.Topic, error) {
	topic, err := wire.ParseTopic(own.Tenant, in.env.Topic)
	if err != nil {
		return topic, fieldError(wire.CodeInvalidMessage, "topic", "topic "+err.Error())
	}
	if topic != own && topic.Kind != wire.KindRoom {
		return topic, fieldError(wire.CodeForbidden, "topic", "a client may name a room only")
	}
	return topic, nil
}

// mayPublish refuses the sender who may not speak in a room.
func (in *inbound) mayPublish(ctx context.Context, sender *Conn, field, room string) error {
	err := in.m.authorize(ctx, sender.identity, sender.allowed, ActPublish, room)
	if errors.Is(err, ErrForbidden) {
		return roomError(field, room, "you may not speak in this room")
	}
	return err
}

// spoken is what is stored of a client's message: what is the client's to say.
func spoken(env Envelope) Envelope {
	return Envelope{
		Type: env.Type, ID: env.ID, Payload: env.Payload, UserID: env.UserID,
		ThreadID: env.ThreadID, RunID: env.RunID, Trace: env.Trace,
	}
}
