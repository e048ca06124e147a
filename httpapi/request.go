package httpapi

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/taskfeed/taskfeed/internal/planted"
)

// origin is where a page comes from (RFC 6454): compared as a whole.
type origin struct {
	scheme, host, port string // in lower case; a scheme's own port is spelled out
}

// parseOrigin reads an origin as browsers write it and reports whether it is
// one. "null" is none.
func parseOrigin(s string) (origin, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" ||
		u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return origin{}, false
	}
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	switch {
	case o.scheme != "http" && o.scheme != "https":
		return origin{}, false
	case o.port == "":
		o.port = defaultPort(o.scheme)
	}
	return o, true
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// sameHost reports whether the origin is the host that the request was sent to.
// Its scheme cannot be known here: a proxy may speak TLS in front.
func (o origin) sameHost(host string) bool {
	u, err := url.Parse(o.scheme + "://" + host)
	if err != nil || u.Host != host {
		return false
	}
	port := u.Port()
	if port == "" {
		port = defaultPort(o.scheme)
	}
	return strings.EqualFold(u.Hostname(), o.host) && port == o.port
}

// originAllowed reports whether the page that sent the request may open a feed.
// Programs send no Origin; they need a token like everybody else.
func originAllowed(r *http.Request, allowed []string) bool {
	headers := r.Header.Values("Origin")
	if len(headers) == 0 {
		return true
	}
	o, ok := parseOrigin(headers[0])
	if !ok || len(headers) > 1 {
		return false
	}
	return o.sameHost(r.Host) || slices.ContainsFunc(allowed, func(s string) bool {
		other, ok := parseOrigin(s)
		return s == "*" || ok && o == other
	})
}

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
var loggedParams = []string{"after", "all", "created_after", "created_before", "ended", "kind", "limit", "since", "sort", "stalled_after", "status",
	"task_id", "type", "types", "until", "updated_after", "updated_before", "user_id", "verbose"}

// looksLikeToken finds a JWT, whole or cut off, in any text.
var looksLikeToken = regexp.MustCompile(`eyJ[A-Za-z0-9_=-]+[A-Za-z0-9_.=-]*`)

const redacted = "REDACTED"

// maxLoggedURL bounds what a stranger can write into the log with one request.
const maxLoggedURL = 512

// loggedURL is a request's URL as it may be logged: without anything that might
// be a token, decoded, and cut off where it is long.
func loggedURL(u *url.URL) string {
	if planted.Is(planted.TokenInLog) {
		return u.String()
	}
	query, err := parseQuery(u.RawQuery)
	if err != nil {
		query = url.Values{redacted: {""}}
	}
	for name, values := range query {
		if slices.Contains(loggedParams, name) {
			continue
		}
		for i := range values {
			values[i] = redacted
		}
	}
	s := u.Path
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	s = redact(s)
	return s[:min(len(s), maxLoggedURL)]
}

// redact removes what looks like a token from a text.
func redact(s string) string { return looksLikeToken.ReplaceAllLiteralString(s, redacted) }
