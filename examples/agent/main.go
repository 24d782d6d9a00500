// Command agent is a server with an agent of its own, for docs/getting-started.md. It lets
// everybody on this machine in; docs/embedding.md shows what a service needs besides.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8081", "the address to listen on")
	flag.Parse()
	m, err := switchboard.New(switchboard.Options{Auth: auth.Development()}) // this machine only
	if err != nil {
		log.Fatal(err)
	}
	m.HandleRun("user_message", switchboard.RunOptions{Agent: "parrot"}, parrot)
	log.Fatal(http.ListenAndServe(*listen, m.ClientAPI()))
}

// parrot repeats the question, a word at a time. When somebody stops the run, the next write fails.
func parrot(ctx context.Context, run *switchboard.Run, msg switchboard.Envelope) error {
	var question struct{ Content string }
	if err := msg.Decode(&question); err != nil {
		return err
	}
	for word := range strings.FieldsSeq(question.Content) {
		if _, err := io.WriteString(run.Stream("answer"), word+" "); err != nil {
			return err
		}
	}
	return nil
}
