package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
)

func TestACommandLineThatCannotWorkNamesTheFlagAndEndsWithTwo(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  []string
		args string
		want string
	}{
		{"no command", nil, "", "expected one of"},
		{"unknown command", nil, "serv", "serv"},
		{"unknown flag", nil, "dev --port 80", "--port"},
		{"flag without value", nil, "dev --listen", "--listen"},
		{"listen without port", nil, "dev --listen 127.0.0.1", "--listen"},
		{"listen on all addresses", nil, "dev --listen :8080", "--listen"},
		{"listen on another address", nil, "dev --listen 192.0.2.1:8080", "loopback"},
		{"listen on a name", nil, "dev --listen example.com:8080", "--listen"},
		{"unknown log level", nil, "dev --log-level loud", "--log-level"},
		{"token without secret", nil, "token --user alice", "--jwt-secret"},
		{"token without user", nil, "token --jwt-secret S", "--user"},
		{"token that is never good", nil, "token --jwt-secret S --user alice --ttl 0s", "--ttl"},
		{"token with a bad duration", nil, "token --jwt-secret S --user alice --ttl long", "--ttl"},
		{"send without URL", nil, "send --api-key K --user alice x", "--url"},
		{"send to no URL", nil, "send --url localhost:8080 --api-key K --user alice x", "--url"},
		{"send without type", nil, "send --url http://h --api-key K --user alice", "type"},
		{"send with a key to nobody", nil, "send --url http://h --api-key K x", "--api-key"},
		{"send to a user without key", nil, "send --url http://h --user alice x", "--api-key"},
		{"send to two", nil, "send --url http://h --api-key K --user alice --room r x", "--user"},
		{"send with two credentials", nil, "send --url http://h --api-key K --token T x", "--api-key"},
		{"send with token and ticket", nil, "send --url http://h --token K --ticket T x", "--token"},
		{"send to a user with a token", []string{"SWITCHBOARD_API_KEY=K"}, "send --url http://h --user alice --token T x", "--user"},
		{"send what is no JSON", nil, "send --url http://h x {", "PAYLOAD"},
		{"send a list", nil, "send --url http://h x [1]", "PAYLOAD"},
		{"send null", nil, "send --url http://h x null", "PAYLOAD"},
		{"send what is no JSON from standard input", nil, "send --url http://h x -", "standard input"},
		{"tail without URL", nil, "tail", "--url"},
		{"tail with a bad URL in the environment", []string{"SWITCHBOARD_URL=ftp://h"}, "tail", "URL"},
		{"tail since nowhere", nil, "tail --url http://h --since user/alice", "--since"},
		{"tail since no topic", nil, "tail --url http://h --since alice=e:5", "--since"},
		{"tail since a length of nothing", nil, "tail --url http://h --since answer=5", "STREAM=LENGTH"},
		{"tail since a length of no stream", nil, "tail --url http://h --since r_12/a/b=5", "STREAM=LENGTH"},
		{"tail since a negative length", nil, "tail --url http://h --since r_12/answer=-5", "--since"},
		{"tail since a position of a stream", nil, "tail --url http://h --since r_12/answer=e:5", "--since"},
		{"tail since no position", nil, "tail --url http://h --since user/alice=5", "--since"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runCommand(t, tt.env, "nothing", strings.Fields(tt.args)...)
			if got.code != exitUsage || !strings.Contains(got.errors, tt.want) || strings.Count(got.errors, "\n") != 1 || got.out != "" {
				t.Errorf("got exit code %d, stdout %q, stderr %q, want %d and one line on stderr with %q", got.code, got.out, got.errors, exitUsage, tt.want)
			}
		})
	}
}

func TestWhatGoesWrongIsOneLineAndEndsWithOne(t *testing.T) {
	n := dev(t)
	for _, tt := range []struct {
		name, args, want string
	}{
		{"address taken", "dev --listen " + strings.TrimPrefix(n.URL, "http://"), "address already in use"},
		{"ready file in no folder", "dev --listen 127.0.0.1:0 --ready-file /nowhere/ready.json", "ready file"},
		{"wrong key", "send --url " + n.URL + " --api-key wrong --user alice x", "AUTH_ERROR"},
		{"run event", "send --url " + n.URL + " --api-key " + n.Key + " --user alice agent_completed", "RUN_CONTRACT"},
		{"send with a bad token", "send --url " + n.URL + " --token wrong x", "AUTH_ERROR"},
		{"tail with a bad token", "tail --url " + n.URL + " --token wrong", "AUTH_ERROR"},
		{"send to nobody there", "send --url http://127.0.0.1:1 --api-key K --user alice x", "connection refused"},
		{"tail nobody there", "tail --url http://127.0.0.1:1", "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := runCommand(t, nil, "", strings.Fields(tt.args)...)
			if got.code != exitFailure || !strings.Contains(got.errors, tt.want) || got.out != "" {
				t.Errorf("got exit code %d, stdout %q, stderr %q, want %d and stderr with %q", got.code, got.out, got.errors, exitFailure, tt.want)
			}
			if lines := strings.Split(strings.TrimSpace(got.errors), "\n"); !strings.HasPrefix(lines[len(lines)-1], "switchboard: ") {
				t.Errorf("got last line %q, want the error", lines[len(lines)-1])
			}
		})
	}
}

func TestHelpEndsWithZero(t *testing.T) {
	for _, args := range []string{"--help", "serve --help", "check --help", "dev --help", "token --help", "send --help", "tail --help", "version --help"} {
		if got := runCommand(t, nil, "", strings.Fields(args)...); got.code != exitOK || !strings.Contains(got.out, "Usage: switchboard") || got.errors != "" {
			t.Errorf("got exit code %d, stdout %q, stderr %q for %s, want %d and the usage", got.code, got.out, got.errors, args, exitOK)
		}
	}
}

func TestVersionTellsTheBuild(t *testing.T) {
	got := runCommand(t, nil, "", "version")
	if got.code != exitOK || !strings.HasPrefix(got.out, "switchboard ") || !strings.Contains(got.out, "\ncommit ") || !strings.Contains(got.out, runtime.Version()) {
		t.Errorf("got exit code %d and %q, want version, commit and %s", got.code, got.out, runtime.Version())
	}
}

func TestTokenHasWhatWasAskedFor(t *testing.T) {
	got := runCommand(t, []string{"SWITCHBOARD_JWT_SECRET=secret"}, "", "token", "--user", "alice", "--tenant", "acme",
		"--permission", "room:a,b:join", "--permission", "room:*:publish", "--ttl", "90m")
	if got.code != exitOK {
		t.Fatalf("got exit code %d and stderr %q, want %d", got.code, got.errors, exitOK)
	}
	var c claims
	_, err := jwt.ParseWithClaims(strings.TrimSpace(got.out), &c, func(*jwt.Token) (any, error) { return []byte("secret"), nil },
		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		t.Fatal(err)
	}
	if c.Subject != "alice" || c.Tenant != "acme" || c.ID == "" {
		t.Errorf("got subject %q, tenant %q, id %q, want alice, acme and an id", c.Subject, c.Tenant, c.ID)
	}
	if diff := cmp.Diff([]string{"room:a,b:join", "room:*:publish"}, c.Permissions); diff != "" {
		t.Errorf("permissions (-want +got):\n%s", diff)
	}
	if ttl := c.ExpiresAt.Sub(c.IssuedAt.Time); ttl != 90*time.Minute {
		t.Errorf("got a token for %v, want 90m", ttl)
	}
}

func TestTheReadyFileIsPrivateAndGoesWithTheServer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ready.json")
	p := start(t, "dev", "--listen", "localhost:0", "--api-key", "my key", "--ready-file", file)
	banner := p.line(t)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	var got node
	if err := json.Unmarshal(content, &got); err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 || got.PID != p.Process.Pid || got.Key != "my key" || banner != "Open "+got.URL {
		t.Errorf("got %s with mode %v and banner %q, want 0600, pid %d, the key and the URL", content, info.Mode().Perm(), banner, p.Process.Pid)
	}
	p.interrupt(t)
	if code := p.wait(t); code != exitOK {
		t.Errorf("got exit code %d after ctrl-C, want %d; stderr: %s", code, exitOK, p.errs.String())
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("got %v for the ready file after the end, want that there is none", err)
	}
}

func TestEachStartHasAnotherKey(t *testing.T) {
	a, b := dev(t), dev(t)
	if a.Key == b.Key || len(a.Key) < 26 {
		t.Errorf("got keys %q and %q, want two long ones", a.Key, b.Key)
	}
}

func TestQuotedWordsAreOneWord(t *testing.T) {
	for in, want := range map[string]string{
		"": "''", "plain": "plain", "/a/b-c_d.e": "/a/b-c_d.e", "http://h:1?user=a": "'http://h:1?user=a'",
		"it's": `'it'\''s'`, "a b": "'a b'", "$HOME": "'$HOME'", "~": "'~'",
	} {
		if got := quote(in); got != want {
			t.Errorf("got %s for %q, want %s", got, in, want)
		}
	}
}

func TestProgramsOfGoRunAreRecognized(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	for path, want := range map[string]bool{
		"/tmp/go-build123/b001/exe/switchboard":                 true,
		"/home/a/.cache/go-build/01/" + hash + "-d/switchboard": true,
		"/usr/local/bin/switchboard":                            false,
		"/home/a/exe/switchboard":                               false,
	} {
		if got := fromGoRun(path); got != want {
			t.Errorf("got %v for %s, want %v", got, path, want)
		}
	}
}
