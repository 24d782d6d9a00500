package config

import (
	"errors"
	"testing"
)

// FuzzFile reads any text as a file: it is refused with problems that say something, or it
// is a configuration that can be shown, whose values are within their bounds.
func FuzzFile(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(good + "api-key:\n- name: shop\n  key: " + goodKey + "\n  tenants: [a]\n- *a\n"))
	f.Add([]byte("a: &a [*a]\nlisten: *a\n"))
	f.Add([]byte(good + "heartbeat-interval: 5s\nmax-connections: 7\n<<: {listen: x}\n"))
	f.Add([]byte("---\n- x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLoader()
		content, err := mapping(text)
		if err != nil {
			return
		}
		l.readMapping("f", content)
		l.check()
		for _, p := range l.problems {
			if p == "" {
				t.Error("got a problem without a text")
			}
		}
		if len(l.problems) > 0 {
			return
		}
		if _, err := l.loaded.YAML(); err != nil {
			t.Error(err)
		}
		if c := l.loaded.server; c.Heartbeat.Timeout < c.Heartbeat.Interval || len(l.loaded.JWTSecret) == 0 && l.loaded.JWKS == "" {
			t.Errorf("accepted %q as %+v", text, c)
		}
	})
}

func TestProblemsAreOneErrorWithASentenceForEach(t *testing.T) {
	_, err := Load(Sources{})
	if problems, ok := errors.AsType[Problems](err); !ok || len(problems) != 2 || err.Error() != problems[0]+"; "+problems[1] {
		t.Errorf("got %v, want two problems", err)
	}
}
