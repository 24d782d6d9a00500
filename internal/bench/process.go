package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"time"
)

// process is a node of a scenario, from outside.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	url   string
	key   string
	http  *http.Client
}

// startNode runs the program with arguments that make it a [Node].
func startNode(ctx context.Context, program []string, key string) (*process, error) {
	cmd := exec.CommandContext(ctx, program[0], program[1:]...) //nolint:gosec // it is this program
	var errs bytes.Buffer
	cmd.Stderr = &errs
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a node: %w", err)
	}
	p := &process{cmd: cmd, stdin: stdin, key: key, http: &http.Client{Timeout: 20 * time.Second}}
	var a address
	if err := json.NewDecoder(stdout).Decode(&a); err != nil {
		p.stop()
		return nil, fmt.Errorf("a node did not start: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	p.url = a.URL
	return p, nil
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait() // how it ended is not what is measured
	p.http.CloseIdleConnections()
}

// call makes a call of the API for back ends. What is not answered with 2xx is an error.
func (p *process) call(ctx context.Context, method, path, body string, answer any) error {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	if strings.HasPrefix(body, "{") {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, res.Status, bytes.TrimSpace(text))
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

// ready asks whether new clients should be sent here.
func (p *process) ready(ctx context.Context) bool {
	return p.call(ctx, http.MethodGet, "/readyz", "", nil) == nil
}
