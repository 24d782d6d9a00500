package switchboard_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/client"
)

// Example is the program in README.md.
func Example() {
	ctx := context.Background()
	m, err := switchboard.New(switchboard.Options{Auth: auth.Development()}) // loopback only
	if err != nil {
		log.Fatal(err)
	}
	defer m.Shutdown(ctx)
	m.Handle("order", switchboard.Typed(func(ctx context.Context, c *switchboard.Conn, o struct{ Item string }) error {
		everywhere := switchboard.User(c.Identity().User) // all devices of the sender
		_, err := m.Publish(ctx, everywhere, switchboard.Message{Type: "order_accepted", Payload: o})
		return err
	}))
	srv := httptest.NewServer(m.ClientAPI()) // or any http.Server, beside what it has
	defer srv.Close()

	phone, err := client.Dial(ctx, client.Options{URL: srv.URL + "/ws?user=alice"})
	if err != nil {
		log.Fatal(err)
	}
	defer phone.Close()
	messages := phone.Messages(ctx)
	ack, err := phone.Send(ctx, client.Message{Type: "order", Payload: map[string]string{"item": "tea"}})
	fmt.Println(ack.Status, err)
	for msg := range messages {
		if msg.Type == "order_accepted" {
			fmt.Println(msg.Topic, msg.Offset, string(msg.Payload))
			break
		}
	}
	// Output:
	// ok <nil>
	// user/alice 1 {"Item":"tea"}
}

// TestReadmeShowsTheExample holds the README to the code that is compiled and run.
func TestReadmeShowsTheExample(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	body := regexp.MustCompile(`(?s)func Example\(\) \{\n(.*?)\t// Output:\n`).FindSubmatch(source)
	if body == nil {
		t.Fatal("no body of Example found")
	}
	want := strings.ReplaceAll("\n"+string(body[1]), "\n\t", "\n")
	if !strings.Contains(string(readme), strings.TrimSpace(want)) {
		t.Errorf("README.md does not show the body of Example:\n%s", want)
	}
}

// TestAgentsPageShowsCodeThatRuns holds docs/agents.md to the examples.
func TestAgentsPageShowsCodeThatRuns(t *testing.T) {
	source, err := os.ReadFile("agents_example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("docs/agents.md")
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.ReplaceAll(string(source), "\n\t", "\n") // a function's body, one level up
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindAllSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Errorf("got %d blocks of Go, want more", len(blocks))
	}
	for _, b := range blocks {
		if !strings.Contains(flat, string(b[1])) {
			t.Errorf("no example has\n%s", b[1])
		}
	}
}
