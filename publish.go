package switchboard

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/hub"
	"github.com/netra-systems/switchboard/wire"
)

// Envelope is a message as it travels.
type Envelope = wire.Envelope

// Position is a place in a topic's log.
type Position = wire.Position

// Message is what you publish; receivers get it as an [Envelope].
type Message struct {
	// Type is required. Events of runs are refused.
	Type wire.MessageType
	// Payload is encoded once, as a JSON object; a json.RawMessage passes through. nil: none.
	Payload any
	// ID is the message's id. The same ID is published to a topic once within 2 minutes, unless
	// the message is volatile.
	// "": a new UUIDv7, or in a handler one that derives from the message being handled.
	ID string
	// Thread is the conversation. "": the topic's default thread.
	Thread string
	// Run and Agent are labels.
	Run, Agent string
	// Class says what becomes of a message that cannot be delivered at once. wire.Durable, the
	// default: it waits in the log. wire.Latest: it replaces the one with the same Key, and who
	// comes later gets the newest of each Key. wire.Volatile: who cannot take it now never gets
	// it, and is told how many were skipped. The last two have no position and at most 64 KiB. To
	// a Connection all is volatile.
	Class wire.Class
	// Key goes with wire.Latest only, and TTL too: how long it is kept (1 minute; 1 second to 7
	// days). A topic has at most 64 keys; the one published longest ago leaves first.
	Key string
	TTL time.Duration
}

// Delivery says where a message is.
type Delivery struct {
	ID        string
	Position  Position // zero unless durable
	Duplicate bool     // ID was published before; Position is the first one's
	// Receivers is how many connections of this node follow the topic, those left out by
	// Except included; 0 for a duplicate. It proves nothing.
	Receivers int
}

// maxRecord bounds what back ends publish.
const maxRecord = 1 << 20

// Publish appends msg to the log that to names and returns its place. It does not wait for
// receivers: a slow or absent one is caught up later. It speaks for the application, so
// nothing is authorized.
//
// Inside a handler a missing msg.ID derives from the message being handled and from how many
// were published before, so that a retry publishes nothing twice. Events of runs are refused
// with [ErrRunContract], more than 1 MiB with code TOO_LARGE, what does not go together with
// INVALID_MESSAGE and the field, and what is beyond the tenant's [Quota] with RATE_LIMITED. After [ErrUnavailable] nothing
// is known; publish again with the same ID.
func (m *Manager) Publish(ctx context.Context, to Target, msg Message) (Delivery, error) {
	tenant, err := m.tenantOf(ctx)
	if err != nil {
		return Delivery{}, fmt.Errorf("publish: %w", err)
	}
	env, err := m.envelope(ctx, msg)
	if err != nil {
		return Delivery{}, err
	}
	if !isCanary(ctx) {
		if err := m.tenants.publish(tenant, true, len(env.Payload), time.Now()); err != nil {
			return Delivery{}, err
		}
	}
	if to.connection() {
		return m.publishToConn(tenant, to.id, msg, env)
	}
	if err := msg.checkClass(); err != nil {
		return Delivery{}, err
	}
	topic, err := to.topic(tenant)
	if err != nil {
		return Delivery{}, fmt.Errorf("publish: %w", err)
	}
	if msg.Class != wire.Durable {
		return m.post(ctx, topic, msg, env, to.except)
	}
	return m.append(ctx, topic, "", env, to.except)
}

// envelope turns a message into what is stored.
func (m *Manager) envelope(ctx context.Context, msg Message) (Envelope, error) {
	if msg.Type.RunEvent() {
		return Envelope{}, fmt.Errorf("publish %s: %w", msg.Type, ErrRunContract)
	}
	payload, err := encodePayload(msg.Payload)
	if err != nil {
		return Envelope{}, err
	}
	if msg.ID == "" {
		msg.ID = newMessageID(ctx)
	}
	return Envelope{
		Type: msg.Type, ID: msg.ID, Payload: payload, ThreadID: msg.Thread, RunID: msg.Run, AgentName: msg.Agent,
	}, nil
}

func encodePayload(v any) (json.RawMessage, error) {
	switch p := v.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		if len(p) == 0 {
			return nil, nil
		}
		return p, nil
	}
	b, err := wire.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("publish: payload: %w: %w", err, ErrInvalid)
	}
	return b, nil
}

// append is the one way into a log: everything durable goes through it. publisher is the
// user who speaks, or "" for the application.
func (m *Manager) append(ctx context.Context, topic wire.Topic, publisher string, env Envelope, except []string) (Delivery, error) {
	body, err := wire.Append(nil, env)
	if err != nil {
		return Delivery{}, &Error{Code: wire.CodeInvalidMessage, Message: err.Error()}
	}
	if publisher != "" {
		if err := m.tenants.publish(topic.Tenant, false, len(env.Payload), time.Now()); err != nil {
			return Delivery{}, err
		}
	}
	published, err := m.publishRecord(ctx, wire.Record{
		Kind: wire.RecordMessage, Topic: topic, Thread: env.ThreadID, Except: except, Body: body,
	}, broker.Record{DedupeID: dedupeID(publisher, env.ID), Keep: m.opts.Retention})
	if err != nil {
		return Delivery{}, fmt.Errorf("publish to %s: %w", topic, err)
	}
	d := Delivery{ID: env.ID, Position: published.Pos, Duplicate: published.Duplicate}
	if !d.Duplicate {
		m.count.published.Add(1)
		_, d.Receivers, _ = m.hub.Lookup(hubKey(topic))
	}
	return d, nil
}

// publishRecord hands a record to the driver.
func (m *Manager) publishRecord(ctx context.Context, r wire.Record, to broker.Record) (broker.Published, error) {
	data, err := wire.AppendRecord(make([]byte, 0, len(r.Body)+len(r.Topic.ID)+len(r.Topic.Tenant)+64), r)
	if err != nil {
		return broker.Published{}, fmt.Errorf("%w: %w", err, ErrInvalid)
	}
	if len(data) > maxRecord {
		return broker.Published{}, errTooLarge(maxRecord)
	}
	to.Topic, to.Data, to.Owner = broker.KeyOf(r.Topic), data, m.tenants.owner(r.Topic.Tenant, time.Now())
	p, err := m.driver.Publish(ctx, to)
	if errors.Is(err, broker.ErrClosed) {
		err = errors.Join(ErrClosed, err)
	}
	return p, err
}

func errTooLarge(limit int) *Error {
	return &Error{Code: wire.CodeTooLarge, Message: "the message is too large", Details: map[string]any{"limit": limit}}
}

// publishToConn sends to one connection of this node, at once or not at all.
func (m *Manager) publishToConn(tenant, id string, msg Message, env Envelope) (Delivery, error) {
	if msg.Class == wire.Latest {
		return Delivery{}, unsupported("class", "a connection keeps nothing: the class must be volatile")
	}
	if err := msg.checkClass(); err != nil {
		return Delivery{}, err
	}
	c, ok := m.hub.Find(id)
	if !ok {
		return Delivery{}, fmt.Errorf("publish to connection: %w", ErrNotFound)
	}
	if view, ok := m.hub.View(c); !ok || view.User.Tenant != tenant {
		return Delivery{}, fmt.Errorf("publish to connection: %w", ErrNotFound)
	}
	frame, err := encodeFrame(env)
	if err != nil {
		return Delivery{}, &Error{Code: wire.CodeInvalidMessage, Message: err.Error()}
	}
	if len(frame) > maxRecord {
		return Delivery{}, errTooLarge(maxRecord)
	}
	switch err := m.hub.Send(c, frame, true); {
	case errors.Is(err, hub.ErrFull):
		return Delivery{}, fmt.Errorf("publish to connection: %w", ErrBusy)
	case err != nil:
		return Delivery{}, fmt.Errorf("publish to connection: %w", ErrNotFound)
	}
	m.count.published.Add(1)
	return Delivery{ID: env.ID, Receivers: 1}, nil
}

// dedupeID identifies a message among those of one topic. The publisher's name has its
// length before it, so that no user can choose an id that makes a message of somebody else,
// or of the application, look like a repetition.
func dedupeID(publisher, id string) string {
	sum := sha256.Sum256(appendSized(nil, publisher, id))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// appendSized appends texts, each behind its length.
func appendSized(dst []byte, texts ...string) []byte {
	for _, s := range texts {
		dst = append(binary.AppendUvarint(dst, uint64(len(s))), s...)
	}
	return dst
}

// newMessageID returns a new id, or in a handler one that derives from the message that is
// handled: the n-th message that a handler publishes has the same id whenever it runs.
func newMessageID(ctx context.Context) string {
	call, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		return wire.NewID()
	}
	n := call.published.Add(1)
	seed := appendSized([]byte("message of a handler"), call.user.Tenant, call.user.ID, call.env.ID)
	sum := sha256.Sum256(binary.AppendUvarint(seed, n))
	id := uuid.UUID(slices.Clone(sum[:16]))
	id[6] = id[6]&0x0f | 0x80 // version 8: by a rule of one's own (RFC 9562 §5.8)
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}
