package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// callTimeout bounds what a command waits for one answer.
const callTimeout = 30 * time.Second

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 1 << 20

// publication is the body of a publish by the application.
type publication struct {
	To struct {
		User string `json:"user,omitempty"`
		Room string `json:"room,omitempty"`
		All  bool   `json:"all,omitempty"`
	} `json:"to"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
	Thread  string          `json:"thread_id,omitempty"`
}

// publish calls the API with key and returns its answer.
func publish(ctx context.Context, server serverURL, key string, p publication) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server.api("api/v1/publish"), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	caller := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := caller.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, refusal(res.Status, answer)
	}
	return bytes.TrimSpace(answer), nil
}

// refusal says in a line what a problem document says.
func refusal(status string, body []byte) error {
	var problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal(body, &problem); err != nil || problem.Code == "" {
		return fmt.Errorf("the server answered %s", status)
	}
	return fmt.Errorf("%s: %s", problem.Code, problem.Detail)
}
