package ws_test

import (
	"net/http"
	"testing"

	"github.com/netra-systems/switchboard/internal/ws"
)

func TestOneAuthorizationHeaderHasOneToken(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []string
		token  string
		there  bool
	}{
		{"none", nil, "", false},
		{"one", []string{"Bearer abc"}, "abc", true},
		{"scheme in lower case", []string{"bearer abc"}, "abc", true},
		{"more spaces", []string{"Bearer   abc"}, "abc", true},
		{"two headers", []string{"Bearer abc", "Bearer abc"}, "", true},
		{"an empty one and one", []string{"", "Bearer abc"}, "", true},
		{"two in one, which is no token of anybody's", []string{"Bearer abc, Bearer def"}, "abc, Bearer def", true},
		{"empty", []string{""}, "", true},
		{"no token", []string{"Bearer"}, "", true},
		{"only a space", []string{"Bearer "}, "", true},
		{"another scheme", []string{"Basic abc"}, "", true},
		{"a tab", []string{"Bearer\tabc"}, "", true},
		{"a tab before the token", []string{"Bearer \tabc"}, "", true},
		{"a space behind", []string{"Bearer abc "}, "", true},
		{"a space that is none", []string{"Bearer\u00a0abc"}, "", true},
		{"a scheme that folds to it", []string{"Bearer\u017f abc"}, "", true},
		{"a control character", []string{"Bearer a\x00bc"}, "", true},
	} {
		r := &http.Request{Header: http.Header{}}
		if tt.values != nil {
			r.Header["Authorization"] = tt.values
		}
		if token, there := ws.Bearer(r); token != tt.token || there != tt.there {
			t.Errorf("%s: got %q, %v, want %q, %v", tt.name, token, there, tt.token, tt.there)
		}
	}
}
