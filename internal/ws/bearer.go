package ws

import (
	"net/http"
	"strings"
)

// Bearer returns the token of r's Authorization header, and whether r has one at all. The token
// is "" if there are several headers, if the scheme is not Bearer, and if what follows it has
// control characters or ends with a space: proxies and servers would read such a header in
// different ways. What else a token may have inside is for its owner to say.
func Bearer(r *http.Request) (token string, there bool) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return "", len(values) > 0
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	token = strings.TrimLeft(token, " ")
	if !strings.EqualFold(scheme, "Bearer") || strings.HasSuffix(token, " ") {
		return "", true
	}
	for i := range len(token) {
		if token[i] < ' ' || token[i] == 0x7f {
			return "", true
		}
	}
	return token, true
}
