package switchboard

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/netra-systems/switchboard/broker"
	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// What is stored of a run, in three items of the store:
//
//   - its description, by tenant and id, which reserves the id and says where the run is;
//   - its record, placed with the topic, which changes at start, takeover and end only, so
//     that its revision is the guard of every event;
//   - a note among the topic's live runs, from before the start until after the end.

// runSpec is the description: what was asked for. Only Started changes.
type runSpec struct {
	Tenant    string        `json:"tenant,omitempty"`
	ID        string        `json:"id"`
	Room      string        `json:"room,omitempty"` // where it is published, or
	Owner     string        `json:"user,omitempty"` // whose topic that is
	Thread    string        `json:"thread,omitempty"`
	Agent     string        `json:"agent"`
	User      string        `json:"asked_by,omitempty"`
	InReplyTo string        `json:"in_reply_to,omitempty"`
	Lease     time.Duration `json:"lease,omitempty"`
	Unwatched time.Duration `json:"unwatched,omitempty"`
	Max       time.Duration `json:"max,omitempty"`
	Created   int64         `json:"created"`          // when it was first asked for, in milliseconds since 1970
	Started   Position      `json:"started,omitzero"` // of agent_started; zero: not known yet
}

// runRecord is the record.
type runRecord struct {
	State   wire.RunState  `json:"state"`
	Node    string         `json:"node"`            // that owns it, or did when it ended
	Term    uint64         `json:"term"`            // counts owners; texts are sealed by it
	By      string         `json:"by,omitempty"`    // who stopped it
	Event   string         `json:"event,omitempty"` // message id of the last event
	End     Position       `json:"end,omitzero"`    // of the last event; zero: not stored yet
	Ended   float64        `json:"ended,omitempty"` // seconds since 1970
	Lengths map[string]int `json:"stream_lengths,omitempty"`
}

// liveRun is the note: events of the run come after From.
type liveRun struct {
	ID   string   `json:"id"`
	From Position `json:"from"`
}

// topic is where the run is published.
func (s *runSpec) topic() wire.Topic {
	if s.Room != "" {
		return wire.Topic{Tenant: s.Tenant, Kind: wire.KindRoom, ID: s.Room}
	}
	return wire.Topic{Tenant: s.Tenant, Kind: wire.KindUser, ID: s.Owner}
}

// same reports whether the same run was asked for.
func (s *runSpec) same(other runSpec) bool {
	other.Started, other.Created = s.Started, s.Created
	return *s == other
}

func runHash(tenant, id string) string {
	sum := sha256.Sum256(appendSized([]byte("run"), tenant, id))
	return hex.EncodeToString(sum[:16])
}

func (s *runSpec) hash() string { return runHash(s.Tenant, s.ID) }

func (s *runSpec) specKey() string { return "run/" + s.hash() }

func (s *runSpec) recordKey() string {
	return broker.KeyOf(s.topic()).String() + "/r/" + s.hash()
}

func (s *runSpec) liveKey() string { return livePrefix(s.topic()) + s.hash() }

func livePrefix(topic wire.Topic) string { return broker.KeyOf(topic).String() + "/live/" }

// eventID is the message id of an event that a run has once: whoever writes it, and however
// often it is tried, it is the same message. s must be what is stored.
func (s *runSpec) eventID(what ...string) string {
	sum := sha256.Sum256(appendSized(appendSized([]byte("event of a run"), s.Tenant, s.ID), what...))
	// A UUIDv7 (RFC 9562 §5.7) of the time when the run was asked for.
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:], uint64(s.Created)<<16)
	copy(id[6:], sum[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// dedupeID identifies an event among all messages of the topic: other runs, users and the
// application have ids of their own. No user's id has a control character.
func (s *runSpec) dedupeID(id string) string { return dedupeID("\x00run "+s.ID, id) }

// getItem reads an item of the store into v and returns its revision, 0 if there is none.
func (m *Manager) getItem(ctx context.Context, key string, v any) (uint64, error) {
	item, err := m.driver.Get(ctx, key)
	if errors.Is(err, broker.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if err := wire.Unmarshal(item.Value, v); err != nil {
		return 0, fmt.Errorf("stored item %s: %w", key, err)
	}
	return item.Revision, nil
}

// putItem writes v if the item has a revision.
func (m *Manager) putItem(ctx context.Context, key string, v any, revision uint64, ttl time.Duration) (uint64, error) {
	value, err := wire.Marshal(v)
	if err != nil {
		return 0, err
	}
	return m.driver.Put(ctx, key, value, revision, ttl)
}

// findRun returns what was asked for, or [ErrNotFound].
func (m *Manager) findRun(ctx context.Context, tenant, id string) (runSpec, error) {
	if r := m.runs.find(tenant, id); r != nil {
		return r.spec, nil
	}
	spec := runSpec{Tenant: tenant, ID: id}
	if runs.CheckRunID(id) != nil {
		return spec, errNoRun()
	}
	revision, err := m.getItem(ctx, spec.specKey(), &spec)
	if err != nil {
		return spec, fmt.Errorf("run %s: %w", id, err)
	}
	if revision == 0 || spec.Tenant != tenant || spec.ID != id {
		return spec, errNoRun()
	}
	return spec, nil
}

func errNoRun() error { return fieldError(wire.CodeNotFound, "run_id", "no such run") }

// liveRuns returns the notes of a topic's runs. Some may have ended since.
func (m *Manager) liveRuns(ctx context.Context, topic wire.Topic) ([]liveRun, error) {
	var found []liveRun
	for change, err := range m.driver.Watch(ctx, livePrefix(topic)) {
		if err != nil {
			return nil, fmt.Errorf("runs of %s: %w", topic, err)
		}
		if change.Synced {
			break
		}
		var note liveRun
		if err := wire.Unmarshal(change.Value, &note); err != nil {
			return nil, fmt.Errorf("runs of %s: %w", topic, err)
		}
		found = append(found, note)
	}
	return found, nil
}
