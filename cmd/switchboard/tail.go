package main

import (
	"bytes"
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/netra-systems/switchboard/client"
)

type tailCmd struct {
	Server     serverURL `name:"url" env:"SWITCHBOARD_URL" required:"" placeholder:"URL" help:"The server's base URL, such as http://127.0.0.1:8080."`
	credential `embed:""`
	Room       []string `sep:"none" placeholder:"R" help:"Follow a room. Repeat for more."`
	Thread     []string `sep:"none" placeholder:"T" help:"Print the texts of this conversation and not those of all. Messages that are kept come from everywhere. Repeat for more."`
	Since      []string `sep:"none" placeholder:"TOPIC=POSITION" help:"Begin behind a position that was printed before, as user/alice=<epoch>:<offset>, or, as <run>/answer=1284, behind a length of that text stream. Repeat for more topics and streams."`
	Presence   bool     `help:"Print also who is in the rooms, as the server tells those who may see it."`

	start client.Options // where to begin, made by Validate
}

// Help says what is printed.
func (*tailCmd) Help() string {
	return "Each message is a line of JSON; one that is kept has its position. A lost connection is made again and misses nothing; " +
		"what the server does not have any more is told by a message of type gap. " +
		"A text that is being written comes in lines of type stream_chunk; each has the length of the text so far. " +
		"To go on where another tail was killed, tell with --since the last position of each topic, and the last length of each text, that it printed: " +
		"nothing is lost and nothing comes twice. " +
		"On a dev server the URL may say who you are, as in http://127.0.0.1:8080?user=alice."
}

// Validate reads the positions and lengths.
func (c *tailCmd) Validate() error {
	positions, err := lengths(&c.start.Lengths, c.Since)
	if err != nil {
		return err
	}
	return since(&c.start.Since, positions)
}

// since reads flags of the form TOPIC=POSITION.
func since[P any, Text interface {
	*P
	encoding.TextUnmarshaler
}](positions *map[string]P, flags []string) error {
	*positions = make(map[string]P, len(flags))
	for _, flag := range flags {
		topic, value, ok := cutLast(flag)
		if !ok || !isTopic(topic) {
			return usage("--since %s: must be TOPIC=POSITION, such as user/alice=<epoch>:<offset>", flag)
		}
		var p P
		if err := Text(&p).UnmarshalText([]byte(value)); err != nil {
			return usage("--since %s: %w", flag, err)
		}
		(*positions)[topic] = p
	}
	return nil
}

// lengths takes the flags of the form STREAM=LENGTH out and returns the others. A length is
// a whole number; a position has a colon.
func lengths(of *map[string]int, flags []string) (others []string, err error) {
	*of = make(map[string]int)
	for _, flag := range flags {
		stream, value, _ := cutLast(flag)
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || isTopic(stream) {
			others = append(others, flag)
			continue
		}
		if run, name, _ := strings.Cut(stream, "/"); run == "" || name == "" || strings.Contains(name, "/") {
			return nil, usage("--since %s: must be TOPIC=POSITION, or STREAM=LENGTH, such as <run>/answer=1284", flag)
		}
		(*of)[stream] = int(n)
	}
	return others, nil
}

// cutLast cuts a flag at its last "=": a name may have some, a value has none.
func cutLast(flag string) (name, value string, ok bool) {
	at := strings.LastIndexByte(flag, '=')
	if at < 0 {
		return flag, "", false
	}
	return flag[:at], flag[at+1:], true
}

func isTopic(s string) bool {
	return s == "all" || strings.HasPrefix(s, "user/") || strings.HasPrefix(s, "room/")
}

// Run prints messages until ctx ends, which is no failure, or the server refuses the user.
func (c *tailCmd) Run(ctx context.Context, term terminal) error {
	opts := c.options(c.Server)
	opts.Rooms, opts.Threads, opts.Since, opts.Lengths = c.Room, c.Thread, c.start.Since, c.start.Lengths
	user, err := client.Dial(ctx, opts)
	if err != nil {
		return unlessDone(ctx, err)
	}
	defer user.Close()
	for msg, err := range user.Messages(ctx) {
		if err != nil {
			return unlessDone(ctx, err)
		}
		if ownBusiness(string(msg.Type)) || !c.Presence && strings.HasPrefix(string(msg.Type), "presence_") {
			continue
		}
		line, err := json.Marshal(msg)
		if err != nil {
			return err
		}
		if pos := msg.Position(); pos.Offset != 0 {
			line = fmt.Appendf(bytes.TrimSuffix(line, []byte("}")), `,"position":"%s"}`, pos)
		}
		if string(msg.Type) == "stream_chunk" {
			length, err := lengthAfter(msg.Payload)
			if err != nil {
				return fmt.Errorf("stream_chunk: %w", err)
			}
			line = fmt.Appendf(bytes.TrimSuffix(line, []byte("}")), `,"length":%d}`, length)
		}
		if _, err := term.out.Write(append(line, '\n')); err != nil {
			return unlessGone(err)
		}
	}
	return nil
}

// lengthAfter returns the length of a text with a chunk of it, in code points.
func lengthAfter(payload []byte) (int, error) {
	var chunk struct {
		Start int    `json:"start"`
		Text  string `json:"text"`
	}
	err := json.Unmarshal(payload, &chunk)
	return chunk.Start + utf8.RuneCountInString(chunk.Text), err
}

// ownBusiness reports whether a message is between client and server: these hold the
// session's token or are sent again and again.
func ownBusiness(typ string) bool {
	return typ == "system_message" || typ == "session_restored" || typ == "ping"
}

// unlessDone is err, but nil if somebody has asked for the end.
func unlessDone(ctx context.Context, err error) error {
	select {
	case <-ctx.Done():
		return nil
	default:
		return err
	}
}

// unlessGone is err, but nil if whoever reads the output has seen enough.
func unlessGone(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
