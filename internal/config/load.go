package config

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/netra-systems/switchboard"
	"github.com/netra-systems/switchboard/auth"
	"github.com/netra-systems/switchboard/internal/server"
)

// Sources is where a configuration is read from. What comes later counts: the file, the
// environment, flags. A list replaces the former one.
type Sources struct {
	// File is the path of a YAML file; "": none.
	File string
	// Environ is the environment, as os.Environ returns it.
	Environ []string
	// Flags are those that were given, by name, with values of the types of [Config].
	Flags map[string]any
}

// fromDefault is the origin of what nobody has said.
const fromDefault = "default"

// Problems is what is wrong with a configuration, a sentence for each.
type Problems []string

func (p Problems) Error() string { return strings.Join(p, "; ") }

// Loaded is a configuration that was read and checked. It is immutable.
type Loaded struct {
	Config
	origin map[string]string // of each setting that has a value
	server server.Config     // what check made of it, without Auth and Log
}

// Load reads a configuration. It connects to nothing, but opens the certificate. The error
// is of type [Problems] and has all of them.
func Load(src Sources) (*Loaded, error) {
	l := newLoader()
	whole := src.File == "" || l.readFile(src.File)
	l.readEnviron(src.Environ)
	l.readFlags(src.Flags)
	l.readOldNames(src.Environ)
	l.readPreset()
	if whole { // else what the file would say is not missing
		l.check()
	}
	if len(l.problems) > 0 {
		return nil, l.problems
	}
	return l.loaded, nil
}

// Logger returns what Log asks for.
func (l *Loaded) Logger(w io.Writer) *slog.Logger {
	opts := &slog.HandlerOptions{Level: map[string]slog.Level{
		"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}[l.Level]}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// Server returns what a server needs to know, when the keys of tokens have been fetched if
// there are any to fetch; ctx bounds that, and how long connections to auth-url are kept.
func (l *Loaded) Server(ctx context.Context, log *slog.Logger) (server.Config, error) {
	cfg := l.server
	cfg.Log = log
	if l.AuthURL != "" {
		f := auth.Forward{URL: l.AuthURL, Log: log}
		if len(l.JWTTenants) > 0 {
			f.Tenants = l.JWTTenants
		}
		login, err := auth.NewForward(ctx, f)
		cfg.Auth = login
		return cfg, err
	}
	if l.JWTSecret == "" && l.JWKS == "" {
		cfg.Auth = ticketsOnly
		return cfg, nil
	}
	j := auth.JWT{Secret: []byte(l.JWTSecret), JWKS: l.JWKS, Issuer: l.JWTIssuer, Audience: l.JWTAudience, Log: log}
	if len(l.JWTTenants) > 0 {
		j.Tenants = l.JWTTenants
	}
	login, err := auth.NewJWT(ctx, j)
	cfg.Auth = login
	return cfg, err
}

// ticketsOnly takes no token: who comes has a ticket, which the manager opens itself.
func ticketsOnly(context.Context, switchboard.Credential) (switchboard.Identity, error) {
	return switchboard.Identity{}, switchboard.ErrUnauthenticated
}

// loader collects values and problems.
type loader struct {
	loaded   *Loaded
	bad      map[string]bool // settings with a problem: nothing follows from their values
	problems Problems
}

// newLoader returns one that knows the defaults.
func newLoader() *loader {
	l := &loader{loaded: &Loaded{origin: map[string]string{}}, bad: map[string]bool{}}
	for _, s := range settings() {
		if text := s.tag.Get("default"); text != "" {
			l.set(s, fromDefault, func(dst reflect.Value) error { return setText(dst, text) })
		}
	}
	return l
}

// problem notes what is wrong with a setting that has a value, and where it is from.
func (l *loader) problem(name, format string, args ...any) {
	l.bad[name] = true
	rule := fmt.Sprintf(format, args...)
	if origin := l.loaded.origin[name]; origin != "--"+name {
		rule = origin + ": " + name + " " + rule
	} else {
		rule = origin + " " + rule
	}
	l.problems = append(l.problems, rule)
}

// missing notes that there must be a value of one of these settings.
func (l *loader) missing(why string, names ...string) {
	flags := slices.Clone(names)
	for i := range flags {
		flags[i] = "--" + flags[i]
	}
	l.problems = append(l.problems, fmt.Sprintf("%s is missing: %s (%s)", strings.Join(names, " or "), why, strings.Join(flags, " or ")))
}

// unknown notes a name that means nothing.
func (l *loader) unknown(origin, name string, known []string) {
	l.problems = append(l.problems, fmt.Sprintf("%s: %s is not known; the closest is %s", origin, name, nearest(name, known)))
}

// set gives a setting the value that put makes, unless that is an error.
func (l *loader) set(s setting, origin string, put func(reflect.Value) error) {
	l.loaded.origin[s.name] = origin
	delete(l.bad, s.name)
	dst := s.of(&l.loaded.Config)
	if err := put(dst); err != nil {
		l.problem(s.name, "%s", err)
		return
	}
	if rule := s.outOfRange(dst); rule != "" {
		l.problem(s.name, "%s", rule)
	}
}

func (l *loader) readFlags(flags map[string]any) {
	for _, s := range settings() {
		if v, given := flags[s.name]; given {
			l.set(s, "--"+s.name, func(dst reflect.Value) error {
				dst.Set(reflect.ValueOf(v))
				return nil
			})
		}
	}
}
