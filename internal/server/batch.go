package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/netra-systems/switchboard/wire"
)

// maxBatch is how many messages one call publishes.
const maxBatch = 1000

// batchRequest is the body of a publish of some messages.
type batchRequest struct {
	Messages []batchMessage `json:"messages" minItems:"1" maxItems:"1000" nullable:"false" doc:"Published in this order"`
}

// batchMessage is a publishRequest that is read when its turn comes: one that does not fit
// concerns no other.
type batchMessage json.RawMessage

// UnmarshalJSON takes what is there.
func (m *batchMessage) UnmarshalJSON(b []byte) error {
	*m = bytes.Clone(b)
	return nil
}

// Schema describes what it should be in the OpenAPI document.
func (*batchMessage) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[publishRequest](), true, "")
}

// batchResult is what a publish of the message alone would have answered: a publishAnswer or
// a problem.
type batchResult struct {
	answer  *publishAnswer
	problem *problem
}

// MarshalJSON writes the one that is there.
func (r batchResult) MarshalJSON() ([]byte, error) {
	if r.problem != nil {
		return wire.Marshal(r.problem)
	}
	return wire.Marshal(r.answer)
}

// Schema describes both in the OpenAPI document.
func (batchResult) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		r.Schema(reflect.TypeFor[publishAnswer](), true, ""), r.Schema(reflect.TypeFor[problem](), true, ""),
	}}
}

type batchOutput struct {
	Body struct {
		Results []batchResult `json:"results" nullable:"false" doc:"One for each message, in the same order"`
	}
}

// publishBatch publishes one message after another. A refused one stops nothing, but where it
// is not known whether one was published, those behind it to the same topic are not tried: the
// caller repeats them all, in order.
func (a *api) publishBatch(ctx context.Context, r *batchRequest) (*batchOutput, error) {
	if n := len(r.Messages); n < 1 || n > maxBatch {
		return nil, invalid("messages", fmt.Sprintf("must be from 1 to %d", maxBatch))
	}
	out := new(batchOutput)
	uncertain := map[string]bool{} // topics
	for _, message := range r.Messages {
		answer, err := a.publishOne(ctx, message, uncertain)
		result := batchResult{answer: answer}
		if err != nil {
			result.problem = a.refusal(ctx, "publish-batch", err)
		}
		out.Body.Results = append(out.Body.Results, result)
	}
	return out, nil
}

func (a *api) publishOne(ctx context.Context, message batchMessage, uncertain map[string]bool) (*publishAnswer, error) {
	var r publishRequest
	if err := decode(message, &r); err != nil {
		return nil, err
	}
	topic := r.To.topic()
	if uncertain[topic] && r.To.Connection == nil {
		return nil, newProblem(http.StatusServiceUnavailable, wire.CodeUnavailable, "not tried: a message before it to the same topic may be missing")
	}
	out, err := a.publish(ctx, &r)
	if err != nil {
		if p, _ := problemOf(err); p.Status >= http.StatusInternalServerError && r.To.Connection == nil {
			uncertain[topic] = true
		}
		return nil, err
	}
	return &out.Body, nil
}
