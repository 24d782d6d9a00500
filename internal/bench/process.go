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
	stdin io.WriteCloser
	url   string
	key   string
	http  *http.Client
	errs  bytes.Buffer
}

// startNode runs the program with arguments that make it a [Node].
func startNode(ctx context.Context, program []string, key string) (*process, error) {
	p, answers, err := startProcess(ctx, program)
	if err != nil {
		return nil, err
	}
	// As many connections as there are publishers: what is measured is no handshake.
	p.key, p.http = key, &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	var a address
	if err := answers.Decode(&a); err != nil {
		p.stop()
		return nil, fmt.Errorf("a node did not start: %w: %s", err, p.said())
	}
	p.url = a.URL
	return p, nil
}

// startProcess runs a program that tells JSON values on its standard output.
func startProcess(ctx context.Context, program []string) (*process, *json.Decoder, error) {
	p := &process{cmd: exec.CommandContext(ctx, program[0], program[1:]...), http: new(http.Client)} //nolint:gosec // it is this program
	p.cmd.Stderr = &p.errs
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("start a process: %w", err)
	}
	return p, json.NewDecoder(stdout), nil
}

// said is what it wrote to its standard error. It must have ended.
func (p *process) said() string {
	p.stop()
	return strings.TrimSpace(p.errs.String())
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait() // how it ended is not what is measured
	p.http.CloseIdleConnections()
}

// kill ends the process without a chance to say anything, and waits for it.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.stop()
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
