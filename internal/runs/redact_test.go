package runs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/netra-systems/switchboard/internal/runs"
	"github.com/netra-systems/switchboard/wire"
)

func TestNamesOfSecretsAreKnownByWholeWords(t *testing.T) {
	for _, name := range []string{
		"password", "PASSWORD", "passWord", "pass_word", "db.password", "password2", "user password", "pwd", "passphrase",
		"key", "api_key", "apiKey", "APIKey", "APIkey", "apikey", "x-api-key", "API_KEY_2", "aws_access_key_id", "api_keys", "apiKeys",
		"token", "access_token", "accessToken", "accesstoken", "X-Amz-Security-Token", "idToken", "refresh_tokens",
		"HTTPToken", "secret", "client_secret", "secretKey", "secrets", "credential", "credentials", "auth", "oauth2", "basic-auth",
		"Authorization", "Proxy-Authorization", "Cookie", "set-cookie", "jwt", "bearer", "пароль_key",
	} {
		if !runs.Secret(name) {
			t.Errorf("got false for %q, want a secret", name)
		}
	}
	for _, name := range []string{
		"", "max_tokens", "maxTokens", "prompt_tokens", "tokens", "tokenizer", "author", "authors", "authored_by", "keyboard", "monkey",
		"keys", "keywords", "hockey", "query", "secretary", "cookiecutter", "passenger", "compass", "order", "1042", "__", "MonKeys",
	} {
		if runs.Secret(name) {
			t.Errorf("got true for %q, want no secret", name)
		}
	}
}

func TestViewersSeeNoSecretsAndAreToldOfEveryCut(t *testing.T) {
	long := func(n int) string { return strings.Repeat("ü", n) }
	tests := []struct {
		name, payload, want string
	}{
		{
			"what needs no change keeps its bytes",
			`{ "tool_name":"search", "parameters":{"z":1,"a" : 12345678901234567890123,"max_tokens":1e2, "author":"\u00fc"} }`,
			`{ "tool_name":"search", "parameters":{"z":1,"a" : 12345678901234567890123,"max_tokens":1e2, "author":"\u00fc"} }`,
		},
		{
			"a secret of any kind",
			`{"parameters":{"api_key":"sk-1","token":17,"auth":null,"cookies":["a","b"],"headers":{"Authorization":"Bearer x","Accept":"*"},"credentials":{"user":"u","pass":"p"}}}`,
			`{"parameters":{"api_key":"[REDACTED]","token":"[REDACTED]","auth":"[REDACTED]","cookies":"[REDACTED]","headers":{"Authorization":"[REDACTED]","Accept":"*"},"credentials":"[REDACTED]"}}`,
		},
		{
			"a secret in a list, under an escaped name, beside the parameters",
			`{"parameters":{"users":[{"name":"bob","passw\u006frd":"x"}]},"session_token":"y"}`,
			`{"parameters":{"users":[{"name":"bob","passw\u006frd":"[REDACTED]"}]},"session_token":"[REDACTED]"}`,
		},
		{
			"a secret behind quotes and brackets in texts",
			`{"parameters":{"a":"\"}]{","b\\":[{"k":"\\\""}],"token":"\",\\","c":1}}`,
			`{"parameters":{"a":"\"}]{","b\\":[{"k":"\\\""}],"token":"[REDACTED]","c":1}}`,
		},
		{
			"an approval may ask for a secret",
			`{"parameters":{"pin_token":1},"schema":{"properties":{"password":{"type":"string"}}}}`,
			`{"parameters":{"pin_token":"[REDACTED]"},"schema":{"properties":{"password":{"type":"string"}}}}`,
		},
		{
			"parameters show 200 characters",
			`{"parameters":{"q":"` + long(345) + `","r":"` + long(200) + `"},"status":"executing"}`,
			`{"parameters":{"q":"` + long(200) + `","r":"` + long(200) + `"},"status":"executing","truncated":[{"path":"parameters.q","original_length":345}]}`,
		},
		{
			"escapes and pairs count as what they are",
			`{"parameters":"` + strings.Repeat(`\ud83d\ude42\n`, 101) + `"}`,
			`{"parameters":"` + strings.Repeat(`🙂\n`, 100) + `","truncated":[{"path":"parameters","original_length":202}]}`,
		},
		{
			"parameters show 10 items of a list",
			`{"parameters":{"ids":[ 1,2,3,4,5,6,7,8,9,10 , 11,{"x":["` + long(300) + `"]} ],"ten":[1,2,3,4,5,6,7,8,9,10]}}`,
			`{"parameters":{"ids":[ 1,2,3,4,5,6,7,8,9,10],"ten":[1,2,3,4,5,6,7,8,9,10]},"truncated":[{"path":"parameters.ids","original_length":12}]}`,
		},
		{
			"a cut in a list of objects",
			`{"parameters":[{"text":"ok"},{"text":"` + long(201) + `"}]}`,
			`{"parameters":[{"text":"ok"},{"text":"` + long(200) + `"}],"truncated":[{"path":"parameters.1.text","original_length":201}]}`,
		},
		{
			"results show 500 characters",
			`{"tool_name":"fetch","result":{"body":"` + long(501) + `","short":"` + long(500) + `","token":"t"}}`,
			`{"tool_name":"fetch","result":{"body":"` + long(500) + `","short":"` + long(500) + `","token":"[REDACTED]"},"truncated":[{"path":"result.body","original_length":501}]}`,
		},
		{
			"what is internal leaves results without a word",
			`{"result":{"_id":1,"internal_reasoning":"x","state":"ok" , "InternalKey":[1],"debug_info":{},"rows":[{"systemPrompt":"y","n":1}],"debug":true,"__x":0}}`,
			`{"result":{"state":"ok","rows":[{"n":1}],"debug":true}}`,
		},
		{"all of a result may be internal", `{"result":{"_a":1,"_b":2}}`, `{"result":{}}`},
		{"parameters have nothing internal", `{"parameters":{"_id":1,"debug_info":2}}`, `{"parameters":{"_id":1,"debug_info":2}}`},
		{
			"homes in errors",
			`{"error":"open /home/alice/x: no; '/Users/bob/a b' C:\\Users\\eve\\f /root/k /home/carol /rooted /home/ /home/a/home/b/c"}`,
			`{"error":"open [PATH]/x: no; '[PATH]/a b' [PATH]/f [PATH]/k [PATH]/ /rooted /home/ [PATH]/c"}`,
		},
		{
			"errors show 300 characters",
			`{"error":"` + long(301) + `","message":"` + long(900) + `"}`,
			`{"error":"` + long(300) + `","message":"` + long(900) + `","truncated":[{"path":"error","original_length":301}]}`,
		},
		{
			"the error of an agent",
			`{"status":"error","error_message":"/home/alice/` + long(400) + `"}`,
			`{"status":"error","error_message":"[PATH]/` + long(293) + `","truncated":[{"path":"error_message","original_length":412}]}`,
		},
		{
			"a payload that tells of cuts already",
			`{"truncated":[{"path":"parameters.a","original_length":9}],"parameters":{"b":"` + long(201) + `"}}`,
			`{"truncated":[{"path":"parameters.a","original_length":9},{"path":"parameters.b","original_length":201}],"parameters":{"b":"` + long(200) + `"}}`,
		},
		{
			"an empty list of cuts", `{"truncated":[ ],"parameters":"` + long(201) + `"}`,
			`{"truncated":[{"path":"parameters","original_length":201}],"parameters":"` + long(200) + `"}`,
		},
		{
			"something else under the name of the cuts", `{"truncated":{"token":1},"parameters":"` + long(201) + `"}`,
			`{"truncated":[{"path":"parameters","original_length":201}],"parameters":"` + long(200) + `"}`,
		},
		{
			"a long path",
			`{"parameters":{"` + long(90) + `":{"` + long(150) + `":{"x":"` + long(201) + `"}}}}`,
			`{"parameters":{"` + long(90) + `":{"` + long(150) + `":{"x":"` + long(200) + `"}}},"truncated":[{"path":"parameters.` + long(90) + `.` + long(98) + `…","original_length":201}]}`,
		},
		{"other members are nobody's to cut", `{"x":"` + long(999) + `","list":[1,2,3,4,5,6,7,8,9,10,11]}`, `{"x":"` + long(999) + `","list":[1,2,3,4,5,6,7,8,9,10,11]}`},
		{"nothing", `{}`, `{}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			given := []byte(tt.payload)
			got, err := runs.Redact(given)
			if err != nil || string(got) != tt.want {
				t.Errorf("got  %s, error %v\nwant %s", got, err, tt.want)
			}
			if string(given) != tt.payload {
				t.Errorf("the payload was changed to %s", given)
			}
			wantRedacted(t, given, got)
		})
	}
}

func TestOnlyObjectsAreRedacted(t *testing.T) {
	for payload, want := range map[string]wire.Code{
		``: wire.CodeInvalidJSON, `{`: wire.CodeInvalidJSON, `{"a":1,"a":2}`: wire.CodeInvalidJSON, `{"a":"` + "\xff" + `"}`: wire.CodeInvalidJSON,
		`{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`: wire.CodeInvalidJSON,
		`[]`: wire.CodeInvalidMessage, `"x"`: wire.CodeInvalidMessage, `null`: wire.CodeInvalidMessage,
	} {
		got, err := runs.Redact([]byte(payload))
		if parse, _ := errors.AsType[*wire.ParseError](err); parse == nil || parse.Code != want {
			t.Errorf("got %s, error %v for %s, want %s", got, err, payload, want)
		}
	}
}

// TestWorkStaysInProportionToThePayload: every cut has a path, and all of them may go
// through the same long name.
func TestWorkStaysInProportionToThePayload(t *testing.T) {
	var payload bytes.Buffer
	fmt.Fprintf(&payload, `{"parameters":{"%s":{`, strings.Repeat("n", 300_000))
	for i := range 1000 {
		fmt.Fprintf(&payload, `"f%d":"%s",`, i, strings.Repeat("v", 201))
	}
	payload.WriteString(`"end":0}}}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := runs.Redact(payload.Bytes())
	runtime.ReadMemStats(&after)
	if err != nil || len(got) > 2*payload.Len() {
		t.Errorf("got %d bytes out of %d, error %v", len(got), payload.Len(), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 50*uint64(payload.Len()) {
		t.Errorf("got %d bytes allocated for %d", used, payload.Len())
	}
}

func TestNamesOfWhatIsInternalAreKnown(t *testing.T) {
	for name, want := range map[string]bool{
		"_id": true, "_": true, "internal": true, "internal_reasoning": true, "InternalKey": true, "internals": true,
		"debug_info": true, "debugInfo": true, "system-prompt": true, "SystemPrompt": true,
		"": false, "id_": false, "international": false, "debug": false, "info": false, "prompt": false, "user_debug_info": false,
	} {
		if got := runs.Internal(name); got != want {
			t.Errorf("got %t for %q, want %t", got, name, want)
		}
	}
}

// home is where some home begins.
var home = regexp.MustCompile(`/home/[a-z]|/Users/[a-z]|C:\\Users\\[a-z]|/root/`)

// wantRedacted holds what [runs.Redact] made of a payload against a slower way to the same,
// which works on decoded values and forgets the order of members and of cuts.
func wantRedacted(t interface {
	Helper()
	Fatalf(string, ...any)
}, payload, redacted []byte) {
	t.Helper()
	if err := wire.Unmarshal(redacted, new(map[string]json.RawMessage)); err != nil {
		t.Fatalf("%s became %s: %v", payload, redacted, err)
	}
	if twice, err := runs.Redact(redacted); err != nil || !bytes.Equal(twice, redacted) {
		t.Fatalf("%s became %s and then %s, error %v", payload, redacted, twice, err)
	}
	want, got := members(payload), members(redacted)
	var cuts []string
	for name, v := range want {
		r := reference{}
		switch strings.ToLower(name) {
		case "schema":
			if name == "schema" {
				continue
			}
		case "parameters":
			r = reference{text: 200, items: 10}
		case "result":
			r = reference{text: 500, items: 10, internal: true}
		case "error", "error_message": // of these the table shows exactly what becomes
			if text, _ := got[name].(string); utf8.RuneCountInString(text) > 300 || home.MatchString(text) {
				t.Fatalf("%s became %s", payload, redacted)
			}
			delete(want, name)
			delete(got, name)
			continue
		}
		want[name] = r.member(name, v, name)
		cuts = append(cuts, r.cuts...)
	}
	if told, ok := got["truncated"].([]any); ok {
		cuts = append(cuts, cutsOf(want["truncated"])...)
		slices.Sort(cuts)
		if diff := cmp.Diff(cutsOf(told), cuts); diff != "" {
			t.Fatalf("%s became %s, cuts (-got +want):\n%s", payload, redacted, diff)
		}
		delete(got, "truncated")
		delete(want, "truncated")
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Fatalf("%s became %s (-got +want):\n%s", payload, redacted, diff)
	}
}

// members decodes a payload that is known to be an object; numbers keep their digits.
func members(payload []byte) (m map[string]any) {
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		panic(err)
	}
	return m
}

// cutsOf are the entries of a member truncated in order, without those about errors.
func cutsOf(truncated any) (cuts []string) {
	list, _ := truncated.([]any)
	for _, c := range list {
		if text := fmt.Sprint(c); !strings.Contains(strings.ToLower(text), "path:error") {
			cuts = append(cuts, text)
		}
	}
	slices.Sort(cuts)
	return cuts
}

// reference redacts decoded values by the rules of one member of a payload.
type reference struct {
	text, items int
	internal    bool
	cuts        []string
}

func (r *reference) member(name string, v any, path string) any {
	if runs.Secret(name) {
		return "[REDACTED]"
	}
	switch v := v.(type) {
	case string:
		if letters := []rune(v); r.text > 0 && len(letters) > r.text {
			r.cut(path, len(letters))
			return string(letters[:r.text])
		}
	case []any:
		if n := len(v); r.items > 0 && n > r.items {
			r.cut(path, n)
			return r.member(name, v[:r.items], path)
		}
		for i := range v {
			v[i] = r.member("", v[i], path+"."+strconv.Itoa(i))
		}
	case map[string]any:
		for name, member := range v {
			if r.internal && runs.Internal(name) {
				delete(v, name)
			} else {
				v[name] = r.member(name, member, path+"."+name)
			}
		}
	}
	return v
}

func (r *reference) cut(path string, length int) {
	if letters := []rune(path); len(letters) > 200 {
		path = string(letters[:200]) + "…"
	}
	r.cuts = append(r.cuts, fmt.Sprint(map[string]any{"path": path, "original_length": length}))
}

// drawValue draws JSON in which there is much to redact.
func drawValue(t *rapid.T, levels int) any {
	kind := rapid.IntRange(0, 6).Draw(t, "kind")
	if levels == 0 && kind > 3 {
		kind = 0
	}
	switch kind {
	case 0, 1:
		return strings.Repeat(rapid.SampledFrom([]string{"x", "ü", "🙂", "\n", "/home/bob/", "/root/home/"}).Draw(t, "letter"), rapid.IntRange(0, 600).Draw(t, "length"))
	case 2:
		return rapid.Int64().Draw(t, "number")
	case 3:
		return rapid.SampledFrom([]any{nil, true, "[REDACTED]"}).Draw(t, "word")
	case 4:
		list := []any{}
		for range rapid.IntRange(0, 13).Draw(t, "items") {
			list = append(list, drawValue(t, levels-1))
		}
		return list
	}
	object := map[string]any{}
	for range rapid.IntRange(0, 5).Draw(t, "members") {
		object[rapid.SampledFrom([]string{"q", "apiKey", "max_tokens", "_id", "internalId", "author", "über/x", "debug-info"}).Draw(t, "name")] = drawValue(t, levels-1)
	}
	return object
}

func TestRedactionIsThatOfDecodedValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		payload := map[string]any{}
		for _, name := range []string{"tool_name", "parameters", "result", "error", "secret", "truncated"} {
			if rapid.Bool().Draw(t, name) {
				payload[name] = drawValue(t, 3)
			}
		}
		given, err := wire.Marshal(payload)
		if err != nil {
			t.Fatal(err)
		}
		got, err := runs.Redact(given)
		if err != nil {
			t.Fatal(err)
		}
		wantRedacted(t, given, got)
	})
}

func FuzzRedact(f *testing.F) {
	for _, seed := range []string{
		`{"parameters":{"api_key":"x","q":"` + strings.Repeat("ü", 201) + `","ids":[1,2,3,4,5,6,7,8,9,10,11]},"truncated":[{"path":"a"}]}`,
		`{"result":{"_id":1 , "a":{"systemPrompt":"\ud83d\ude42"},"b":[{"token":null}]},"error":"/home/x/root/home/y"}`,
		`{ "truncated" : {} , "PARAMETERS" : "` + strings.Repeat(`\n`, 201) + `" }`,
	} {
		f.Add([]byte(seed))
	}
	for _, journey := range []int{2, 8} {
		for _, e := range transcript(f, journey, "A") {
			f.Add([]byte(e.Payload))
		}
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := bytes.Clone(payload)
		got, err := runs.Redact(payload)
		if !bytes.Equal(payload, before) {
			t.Fatal("the payload was changed")
		}
		if err == nil {
			wantRedacted(t, payload, got)
		}
	})
}
