package request

import (
	"net/http"
	"strings"

	"github.com/taskfeed/taskfeed"
)

var errAmbiguous = &taskfeed.Error{Code: taskfeed.CodeAmbiguousCredentials,
	Message: "the request carries more than one token; send it in one place only"}

// HeaderToken returns the token of the Authorization header, empty when there is
// none.
func HeaderToken(r *http.Request) (string, error) {
	return ExactlyOne(BearerTokens(r))
}

// HeaderOrQueryToken also takes a token from the query, for browsers' own
// EventSource, which cannot send headers.
func HeaderOrQueryToken(r *http.Request) (string, error) {
	return ExactlyOne(append(BearerTokens(r), Query(r)["token"]...))
}

// BearerTokens returns the tokens of all Authorization headers. Beside another
// header, one without a token counts too: the header must not be repeated (RFC 9110
// section 5.3), and another reader could choose the other one.
func BearerTokens(r *http.Request) []string {
	var tokens []string
	headers := r.Header.Values("Authorization")
	if len(headers) > 1 {
		return headers
	}
	for _, value := range headers {
		scheme, rest, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			tokens = append(tokens, strings.TrimSpace(rest))
		}
	}
	return tokens
}

// ExactlyOne returns the only token, empty when there is none. It refuses several.
func ExactlyOne(tokens []string) (string, error) {
	switch len(tokens) {
	case 0:
		return "", nil
	case 1:
		return tokens[0], nil
	}
	return "", errAmbiguous
}
