package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/netra-systems/switchboard/wire"
)

func FuzzParse(f *testing.F) {
	for _, c := range cases[envelopeCase](f, "envelopes.json") {
		f.Add(c.bytes())
	}
	for _, c := range transcripts(f) {
		f.Add([]byte(c.Frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := bytes.Clone(frame)
		env, err := wire.Parse(frame)
		if !bytes.Equal(frame, before) {
			t.Fatal("the frame was changed")
		}
		if err != nil {
			return
		}
		if !json.Valid(frame) || !utf8.Valid(frame) {
			t.Fatalf("%q was accepted", frame)
		}
		wantRoundTrip(t, env)
	})
}

// wantRoundTrip writes and reads env. Timestamps are rounded when they are written.
func wantRoundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, env wire.Envelope) {
	t.Helper()
	out, err := wire.Append(nil, env)
	if err != nil {
		t.Fatalf("%+v was read but not written: %v", env, err)
	}
	again, err := wire.Parse(out)
	if err != nil {
		t.Fatalf("%s was written but not read: %v", out, err)
	}
	twice, err := wire.Append(nil, again)
	if err != nil || !bytes.Equal(twice, out) {
		t.Fatalf("%s became %s, error %v", out, twice, err)
	}
	env.Timestamp = again.Timestamp
	if diff := cmp.Diff(again, env); diff != "" {
		t.Fatalf("envelope changed (-got +want):\n%s", diff)
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, c := range cases[recordCase](f, "records.json") {
		f.Add(c.Data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := wire.ParseRecord(data)
		if err != nil {
			return
		}
		size := len(r.Topic.Tenant) + len(r.Topic.ID) + len(r.Thread) + len(r.Except) + len(r.Run) + len(r.Streams) + len(r.Body)
		for _, session := range r.Except {
			size += len(session)
		}
		for _, stream := range r.Streams {
			size += len(stream.Name)
		}
		if size > len(data) {
			t.Fatalf("got %d bytes out of %d", size, len(data))
		}
		out, err := wire.AppendRecord(nil, r)
		if err != nil {
			t.Fatalf("%+v was read but not written: %v", r, err)
		}
		again, err := wire.ParseRecord(out)
		if err != nil {
			t.Fatalf("%x was written but not read: %v", out, err)
		}
		if diff := cmp.Diff(again, r); diff != "" {
			t.Fatalf("record changed (-got +want):\n%s", diff)
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"", "a1Fq:42", "x:18446744073709551615", "a:01", "a:b:c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := wire.ParsePosition(s)
		if err == nil && p.String() != s {
			t.Fatalf("%q became %q: one position must have one text", s, p)
		}
		var q wire.Position
		if uerr := q.UnmarshalText([]byte(s)); (uerr == nil) != (err == nil) || q != p {
			t.Fatalf("ParsePosition: %v, %v; UnmarshalText: %v, %v", p, err, q, uerr)
		}
	})
}

func FuzzParseTopic(f *testing.F) {
	for _, s := range []string{"all", "user/alice", "room/a/b", "room/", "team/x", "user/\x00", "user/\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		topic, err := wire.ParseTopic("acme", s)
		if err != nil {
			return
		}
		if topic.String() != s || topic.Check() != nil || topic.Tenant != "acme" {
			t.Fatalf("%q became %+v", s, topic)
		}
	})
}

func FuzzParseErrorMessage(f *testing.F) {
	for _, c := range transcripts(f) {
		f.Add([]byte(c.Frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		e, err := wire.ParseErrorMessage(frame)
		if err != nil {
			return
		}
		out, err := wire.AppendError(nil, e)
		if err != nil {
			t.Fatalf("%+v was read but not written: %v", e, err)
		}
		if _, err := wire.ParseErrorMessage(out); err != nil {
			t.Fatalf("%s was written but not read: %v", out, err)
		}
	})
}

func FuzzUnmarshal(f *testing.F) {
	for _, c := range transcripts(f) {
		f.Add([]byte(c.Frame))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, p := range payloads() {
			_ = wire.Unmarshal(body, p.value) // must not panic
		}
	})
}
