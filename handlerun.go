package switchboard

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

// HandleRun registers an agent: a message of that type is acknowledged at once, with the run's
// id as result, and starts a run. Zero fields of opts come from the message: the topic to
// which it was appended (of a type that is not, the sender's), its thread, its sender, and an
// id that derives from that of the message, so that one that is sent again starts nothing new.
// Like [Manager.Handle] it panics on what can never work.
func (m *Manager) HandleRun(typ wire.MessageType, opts RunOptions, h RunHandler) {
	switch {
	case h == nil:
		panic("switchboard: HandleRun of " + string(typ) + " with a nil RunHandler")
	case wire.CheckID(opts.Agent) != nil:
		panic("switchboard: HandleRun of " + string(typ) + " without an Agent")
	case opts.Lease != 0:
		panic("switchboard: HandleRun of " + string(typ) + " with a Lease: the process itself holds the run")
	}
	m.handle(typ, func(ctx context.Context, c *Conn, msg Envelope) error {
		asked, err := runFor(c, msg, opts)
		if err != nil {
			return err
		}
		run, err := m.startRun(ctx, asked)
		if err != nil {
			return err
		}
		if result, err := wire.Marshal(map[string]string{"run_id": run.ID()}); err == nil {
			setResult(ctx, result, run.new)
		}
		if run.new && !m.runs.background(func() { m.execute(run, msg, h) }) {
			return ErrClosed
		}
		return nil
	}, true)
}

// runFor is the run that a message asks for.
func runFor(c *Conn, msg Envelope, opts RunOptions) (runSpec, error) {
	tenant := c.view.User.Tenant
	own := wire.Topic{Tenant: tenant, Kind: wire.KindUser, ID: msg.UserID}
	topic := own
	var err error
	switch {
	case opts.To.kind != 0:
		topic, err = opts.To.topic(tenant)
	case msg.Offset != 0: // else the topic is what the client says
		topic, err = wire.ParseTopic(tenant, msg.Topic)
	}
	if err != nil {
		return runSpec{}, err
	}
	if opts.Thread == "" {
		opts.Thread = msg.ThreadID
	}
	if opts.User == "" {
		opts.User = msg.UserID
	}
	if opts.InReplyTo == "" {
		opts.InReplyTo = msg.ID
	}
	if opts.ID == "" {
		opts.ID = runs.DerivedID(topic, msg.UserID, msg.ID)
	}
	return opts.spec(topic)
}

// execute runs an agent and ends its run with what comes of it.
func (m *Manager) execute(run *Run, msg Envelope, h RunHandler) {
	err := errors.New("the handler has left its goroutine") // unless it returns
	defer func() {
		if r := recover(); r != nil {
			err = newPanicError(r)
		}
		m.conclude(run.held, err)
	}()
	err = h(run.held.ctx, run, msg)
}

// conclude ends the run of an agent that is through.
func (m *Manager) conclude(o *ownedRun, err error) {
	if o.gone() {
		return
	}
	if err == nil {
		o.persist(ending{typ: wire.AgentCompleted, payload: runs.Completed(o.spec.Agent, nil, o.age())})
		return
	}
	p, panicked := err.(*panicError)     //nolint:errorlint // made above
	if panicked || o.isEnding() == nil { // else it was cut short by the end, which is no failure of its own
		m.count.handlerErrors.Add(1)
		attrs := []slog.Attr{slog.String("run_id", o.spec.ID), slog.String("agent", o.spec.Agent), slog.Any("err", err)}
		if panicked {
			attrs = append(attrs, slog.String("stack", string(p.stack)))
		}
		m.log.LogAttrs(m.life, slog.LevelError, "agent failed", attrs...)
	}
	why := failure(err)
	o.persist(ending{typ: wire.AgentError, payload: runs.Failed(o.spec.Agent, why.text, why.about)})
}

// setResult gives the ack of the message that ctx belongs to a result.
func setResult(ctx context.Context, result json.RawMessage, first bool) {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		c.result = result
		if !first {
			c.status = wire.StatusDuplicate
		}
	}
}
