package server

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/wire"
)

const (
	maxTextBytes = 16 << 20 // of one body with text; larger is 413
	// A body whose length is told is taken in pieces of at most wholeBytes: a shorter one whole
	// or not at all. Of one without a length, what has come is a piece.
	wholeBytes = 1 << 20
	pieceBytes = 16 << 10
)

// streamRoutes registers the calls for text streams.
func (a *api) streamRoutes() {
	const path = "/api/v1/runs/{run}/streams/{stream}"
	op := operation("append-text", http.MethodPost, path, ScopePublish, "Append to a text stream of a run, while the body is coming")
	text := func(what string) *huma.MediaType {
		return &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Description: what}}
	}
	op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{
		"text/plain": text("UTF-8, at most 16 MiB"), "text/event-stream": text("With format=openai"),
	}}
	a.lasting[op.Method+" "+op.Path] = true
	register(a, op, a.appendText)
	register(a, operation("read-text", http.MethodGet, path, ScopeRead, "Read a text stream of a run"), a.readText)
}

// offset is a parameter that counts from 0 and may be left out.
type offset struct {
	N   int
	set bool
}

// Schema, Receiver and OnParamSet are what huma asks of a parameter that may be left out.
func (offset) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Minimum: new(float64)}
}
func (o *offset) Receiver() reflect.Value      { return reflect.ValueOf(o).Elem().Field(0) }
func (o *offset) OnParamSet(isSet bool, _ any) { o.set = isSet }
func (o *offset) orEnd() int {
	if o.set {
		return o.N
	}
	return -1
}

type appendInput struct {
	Run      string `path:"run" doc:"A run_id"`
	Stream   string `path:"stream" doc:"The name of the stream: at most 63 bytes, without /"`
	Start    offset `query:"start" doc:"Where the body begins in the text, in Unicode code points: what is there already is skipped, so that the call can be repeated. Default: at the end"`
	Complete bool   `query:"complete" doc:"Complete the stream when the body has ended"`
	Format   string `query:"format" enum:"openai" doc:"The body is the SSE answer of a chat completion as OpenAI's API streams it, and its content is the text"`

	r *http.Request
	w http.ResponseWriter
}

// Resolve is called by huma. It keeps what the body is read from, and refuses parameters that
// would be ignored.
func (in *appendInput) Resolve(ctx huma.Context) []error {
	in.r, in.w = humago.Unwrap(ctx)
	for name, values := range in.r.URL.Query() {
		if len(values) != 1 || values[0] == "" {
			return []error{&huma.ErrorDetail{Location: "query." + name, Message: "it must be given once, with a value"}}
		}
	}
	return nil
}

// check refuses a body by what is said of it.
func (in *appendInput) check() error {
	if e := in.r.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return newProblem(http.StatusUnsupportedMediaType, wire.CodeUnsupported, "the body must not be compressed")
	}
	if in.r.ContentLength > maxTextBytes {
		return textTooLong()
	}
	if in.r.Header.Get("Content-Type") == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(in.r.Header.Get("Content-Type"))
	charset, named := params["charset"]
	sse := kind == "text/event-stream" && in.Format != ""
	if err != nil || kind != "text/plain" && !sse || named && !strings.EqualFold(charset, "utf-8") {
		what := "the body must be text/plain in UTF-8"
		if in.Format != "" {
			what = "the body must be text/event-stream or text/plain in UTF-8"
		}
		return newProblem(http.StatusUnsupportedMediaType, wire.CodeUnsupported, what)
	}
	return nil
}

func textTooLong() *problem {
	return newProblem(http.StatusRequestEntityTooLarge, wire.CodeTooLarge, "the body is too large").with("limit", maxTextBytes)
}

type appendAnswer struct {
	Start  int           `json:"start" doc:"Where the text begins that was new; length, if none was"`
	Length int           `json:"length" doc:"Of the whole text, in Unicode code points"`
	State  wire.RunState `json:"run_state" enum:"running,waiting,completed,failed,cancelled,dead"`
}

type appendOutput struct{ Body appendAnswer }

// appendText lasts as long as the body is open, and holds the run meanwhile.
func (a *api) appendText(ctx context.Context, in *appendInput) (*appendOutput, error) {
	ctx = context.WithoutCancel(ctx) // what has come is appended, also if its sender leaves then
	socket := http.NewResponseController(in.w)
	socket.SetWriteDeadline(time.Time{}) //nolint:errcheck // then it has none
	defer func() {
		at := time.Now().Add(callTimeout)
		socket.SetWriteDeadline(at) //nolint:errcheck // then there is none
		socket.SetReadDeadline(at)  //nolint:errcheck // the same
	}()
	if err := in.check(); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	run, err := a.m.Runs().Attach(bounded, in.Run)
	if err != nil {
		return nil, err
	}
	held, release, err := run.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if key := callerOf(ctx).key; !key.Expires.IsZero() {
		late := newProblem(http.StatusUnauthorized, wire.CodeAuthError, errKeyExpired.Error())
		var cancel context.CancelFunc
		held, cancel = context.WithDeadlineCause(held, key.Expires, late)
		defer cancel()
	}
	p := &producer{run: run, name: in.Stream, at: in.Start.orEnd()}
	if err := p.take(held, socket, newTextReader(in.r, in.Format)); err != nil {
		return nil, err
	}
	if in.Complete {
		if err := run.Stream(in.Stream).Close(); err != nil {
			return nil, err
		}
	}
	bounded, cancel = context.WithTimeout(ctx, callTimeout)
	defer cancel()
	info, err := run.Info(bounded)
	if err != nil {
		return nil, err
	}
	return &appendOutput{Body: appendAnswer{Start: p.from, Length: p.length, State: info.State}}, nil
}

// producer appends the text of one body.
type producer struct {
	run    *switchboard.Run
	name   string // of the stream
	at     int    // where the next piece begins; -1: at the end
	from   int    // where the text begins that was new
	grown  bool   // there was such
	length int    // of the whole text
	any    bool   // a piece was appended
}

// take appends all of the body. The end of the run breaks it off at once.
func (p *producer) take(held context.Context, socket *http.ResponseController, body *textReader) error {
	// A body may be open, and silent, for as long as its run lives.
	if err := socket.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	broken := make(chan struct{})
	stop := context.AfterFunc(held, func() {
		defer close(broken)
		socket.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // as above
	})
	defer func() {
		if !stop() {
			<-broken
		}
	}()
	for {
		text, err := body.next()
		if text != "" || errors.Is(err, io.EOF) && !p.any {
			// Also an empty body opens the stream.
			if err := p.append(held, text); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err == nil:
		case held.Err() != nil:
			return context.Cause(held)
		default:
			return p.broken(held, err)
		}
	}
}

func (p *producer) append(held context.Context, text string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(held), callTimeout)
	defer cancel()
	from, length, err := p.run.Stream(p.name).AppendNew(ctx, p.at, text)
	if err != nil {
		return err
	}
	if p.at >= 0 {
		p.at += utf8.RuneCountInString(text)
	}
	if !p.grown {
		p.from, p.grown = from, length > from
	}
	p.length, p.any = length, true
	return nil
}

// broken refuses the rest of a body and says how long the text is: what has come of it stays.
func (p *producer) broken(ctx context.Context, err error) error {
	refused, ok := errors.AsType[*problem](err)
	if !ok {
		refused = newProblem(http.StatusBadRequest, wire.CodeInvalidMessage, "the body was broken off").with("field", "body")
	}
	if !p.any {
		info, err := p.run.Info(ctx)
		if err != nil {
			return err
		}
		for _, s := range info.Streams {
			if s.Name == p.name {
				p.length = s.Length
			}
		}
	}
	return refused.with("length", p.length)
}

type readTextInput struct {
	Run    string `path:"run" doc:"A run_id"`
	Stream string `path:"stream" doc:"The name of the stream"`
}

type readTextOutput struct{ Body readTextOutputBody }

type readTextOutputBody struct {
	Length int    `json:"length" doc:"Unicode code points"`
	State  string `json:"state" enum:"open,complete,cancelled,failed"`
	Text   string `json:"text"`
}

// writeTo implements [pieces]: a text may be so long that there should not be a second one of it
// in JSON.
func (o readTextOutputBody) writeTo(body io.Writer) error {
	text := o.Text
	o.Text = ""
	around, err := wire.Marshal(o)
	if err != nil {
		return err
	}
	end := len(around) - len(`"}`)
	if _, err := body.Write(around[:end]); err != nil {
		return err
	}
	for len(text) > 0 {
		n := min(len(text), pieceBytes)
		for n < len(text) && !utf8.RuneStart(text[n]) {
			n--
		}
		quoted, err := wire.Marshal(text[:n])
		if err != nil {
			return err
		}
		if _, err := body.Write(quoted[1 : len(quoted)-1]); err != nil {
			return err
		}
		text = text[n:]
	}
	_, err = body.Write(append(around[end:], lineEnd...))
	return err
}

func (a *api) readText(ctx context.Context, in *readTextInput) (*readTextOutput, error) {
	run, err := a.m.Runs().Attach(ctx, in.Run)
	if err != nil {
		return nil, err
	}
	stream, err := run.Stream(in.Stream).Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &readTextOutput{Body: readTextOutputBody{Length: stream.Length, State: stream.State, Text: stream.Text}}, nil
}
