package main

import (
	"net/url"
	"slices"
)

// serverURL is the base URL of a server as the command line has it. Its query, such as
// ?user=alice, is for client connections.
type serverURL struct{ base *url.URL }

// UnmarshalText reads a URL with a scheme that a server speaks, and a host.
func (u *serverURL) UnmarshalText(text []byte) error {
	parsed, err := url.Parse(string(text))
	if err != nil || parsed.Host == "" || !slices.Contains([]string{"http", "https", "ws", "wss"}, parsed.Scheme) {
		return usage("must be a URL such as http://127.0.0.1:8080")
	}
	u.base = parsed
	return nil
}

// client is where clients connect.
func (u serverURL) client() string {
	return u.base.JoinPath("ws").String()
}

// api is where back ends call.
func (u serverURL) api(path string) string {
	to := u.base.JoinPath(path)
	to.RawQuery, to.Fragment = "", ""
	switch to.Scheme {
	case "ws":
		to.Scheme = "http"
	case "wss":
		to.Scheme = "https"
	}
	return to.String()
}
