package openai

import (
	"encoding/json"
	"fmt"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/shared"

	"github.com/netra-systems/switchboard/agent"
)

// params is req in the words of the protocol.
func (m *model) params(req agent.Request) (openai.ChatCompletionNewParams, error) {
	params := openai.ChatCompletionNewParams{Model: m.name}
	for _, msg := range req.Messages {
		params.Messages = append(params.Messages, message(msg))
	}
	for _, tool := range req.Tools {
		schema := shared.FunctionParameters{"type": "object", "properties": map[string]any{}}
		if tool.Parameters != nil {
			schema = nil
			if err := json.Unmarshal(tool.Parameters, &schema); err != nil {
				return params, fmt.Errorf("parameters of tool %q: %w", tool.Name, err)
			}
		}
		params.Tools = append(params.Tools, openai.ChatCompletionFunctionTool(shared.FunctionDefinitionParam{
			Name: tool.Name, Description: openai.String(tool.Description), Parameters: schema,
		}))
	}
	if req.Final && len(req.Tools) > 0 {
		params.ToolChoice.OfAuto = openai.String(string(openai.ChatCompletionToolChoiceOptionAutoNone))
	}
	return params, nil
}

func message(msg agent.Message) openai.ChatCompletionMessageParamUnion {
	switch msg.Role {
	case agent.RoleSystem:
		return openai.SystemMessage(msg.Text)
	case agent.RoleTool:
		return openai.ToolMessage(msg.Text, msg.CallID)
	case agent.RoleAssistant:
		return assistant(msg)
	}
	return openai.UserMessage(msg.Text)
}

func assistant(msg agent.Message) openai.ChatCompletionMessageParamUnion {
	var said openai.ChatCompletionAssistantMessageParam
	if msg.Text != "" {
		said.Content.OfString = openai.String(msg.Text)
	}
	for _, call := range msg.Calls {
		said.ToolCalls = append(said.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
			OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID:       call.ID,
				Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{Name: call.Name, Arguments: call.Arguments},
			},
		})
	}
	return openai.ChatCompletionMessageParamUnion{OfAssistant: &said}
}
