package httpapi

import (
	"slices"
	"strings"
)

// refusedHeaders returns which of the headers a browser would not send after a
// preflight's answer (Fetch, CORS-preflight fetch): a star, without credentials,
// allows all but Authorization.
func refusedHeaders(allowed, wanted string) (refused []string) {
	var names []string
	for name := range strings.SplitSeq(allowed, ",") {
		names = append(names, strings.ToLower(strings.TrimSpace(name)))
	}
	for name := range strings.SplitSeq(wanted, ",") {
		starred := name != "authorization" && slices.Contains(names, "*")
		if !starred && !slices.Contains(names, name) {
			refused = append(refused, name)
		}
	}
	return refused
}
