package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/internal/logs"
)

// clientAddr is the address that limits and logs go by: the peer's, or what the
// trusted proxies in front say about it. Of X-Forwarded-For only the part that
// trusted proxies wrote is believed: the last address that is none of theirs.
func clientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, s := range slices.Backward(forwarded) {
		if !slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			break
		}
		next, ok := parseForwarded(strings.TrimSpace(s))
		if !ok {
			break
		}
		addr = next
	}
	return addr
}

// parseForwarded reads one address, which some proxies write with a port.
func parseForwarded(s string) (netip.Addr, bool) {
	if host, _, err := net.SplitHostPort(s); err == nil {
		s = host
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return addr.Unmap(), err == nil
}

// loggedParams are the query parameters whose values may be logged. All others
// are redacted: a token may stand anywhere.
var loggedParams = []string{"after", "all", "created_after", "created_before", "ended", "id", "kind", "limit", "since", "sort", "stalled_after", "status",
	"task_id", "type", "types", "until", "updated_after", "updated_before", "user_id", "verbose"}

// maxLoggedURL bounds what a stranger can write into the log with one request.
const maxLoggedURL = 512

// loggedURL is a request's URL as it may be logged: without anything that might
// be a token, decoded, and cut off where it is long.
func loggedURL(u *url.URL) string {
	s := u.Path
	if u.RawQuery != "" {
		s += "?" + loggedQuery(u.RawQuery)
	}
	s = logs.Redact(s)
	return s[:min(len(s), maxLoggedURL)]
}

// loggedQuery is a query as it may be logged, but for names that are tokens.
func loggedQuery(raw string) string {
	query, err := parseQuery(raw)
	if err != nil {
		return "UNREADABLE"
	}
	logged := make(url.Values, len(query))
	for name, values := range query {
		for _, value := range values {
			if !slices.Contains(loggedParams, name) || logs.HasToken(value) {
				value = logs.Redacted
			}
			logged.Add(name, value)
		}
	}
	return logged.Encode()
}
