package request

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"

	"github.com/taskfeed/taskfeed"
)

// This file decides which web pages may connect, for WebSocket and for CORS.

// origin is the origin of a web page (RFC 6454). Origins are compared as a whole.
type origin struct {
	scheme, host, port string // in lower case; the port of http and https is spelled out
}

// Origins without a host: of pages loaded from files, and of pages to which the browser
// gives no origin, such as sandboxed frames.
const (
	originFile = "file://"
	originNull = "null"
)

// parseOrigin reads an origin as browsers write it and reports whether it is one.
// Apps have schemes of their own: capacitor://localhost, app://. and the like.
// "null" is none.
func parseOrigin(s string) (origin, bool) {
	if strings.EqualFold(s, originFile) {
		return origin{scheme: "file"}, true
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" || u.Opaque != "" ||
		u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return origin{}, false
	}
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.scheme == "" || slices.Contains(neverOrigins, o.scheme) {
		return origin{}, false
	}
	if o.port == "" {
		o.port = defaultPort(o.scheme)
	}
	return o, true
}

// neverOrigins are schemes that no origin has: for such a page browsers send the origin
// of the page around it, or null.
var neverOrigins = []string{"about", "blob", "data", "file", "ftp", "javascript", "ws", "wss"}

// defaultPort is the port of a scheme, empty where it has none.
func defaultPort(scheme string) string {
	switch scheme {
	case "https":
		return "443"
	case "http":
		return "80"
	}
	return ""
}

// isWeb reports whether the page was loaded over HTTP or HTTPS.
func (o origin) isWeb() bool { return o.scheme == "http" || o.scheme == "https" }

// sameHost reports whether the origin is the host that the request was sent to.
// The scheme is not compared: a proxy in front may terminate TLS. An app's own scheme
// never matches, whatever its host is called.
func (o origin) sameHost(host string) bool {
	u, err := url.Parse(o.scheme + "://" + host)
	if err != nil || u.Host != host || !o.isWeb() {
		return false
	}
	port := u.Port()
	if port == "" {
		port = defaultPort(o.scheme)
	}
	return strings.EqualFold(u.Hostname(), o.host) && port == o.port
}

var ErrOrigin = &taskfeed.Error{Code: taskfeed.CodeOriginNotAllowed,
	Message: "pages of this origin may not connect; add it to the server's allowed origins"}

// Origins is a list of allowed origins.
type Origins struct {
	any, null bool
	exact     map[origin]bool
	wild      []origin // host is what follows the first label; empty: any host of the scheme
}

// Allow reports whether the page that sent the request may open a feed. Programs
// send no Origin; they need a token like everybody else.
func (l *Origins) Allow(r *http.Request) bool {
	headers := r.Header.Values("Origin")
	switch {
	case len(headers) == 0:
		return true
	case len(headers) > 1:
		return false
	case headers[0] == originNull:
		return l.null
	}
	o, ok := parseOrigin(headers[0])
	return ok && (l.any || l.exact[o] || o.sameHost(r.Host) || l.wildAllows(o))
}

// wildAllows reports whether an entry with a star matches: the star stands for one
// label, or for any host where the entry is nothing but the star.
func (l *Origins) wildAllows(o origin) bool {
	label, rest, _ := strings.Cut(o.host, ".")
	return slices.ContainsFunc(l.wild, func(w origin) bool {
		return w.scheme == o.scheme && w.port == o.port && (w.host == "" || label != "" && w.host == rest)
	})
}

// ReadOrigins reads a list of allowed origins. The error names, by its place in the
// list, every entry that no page's origin can match.
func ReadOrigins(entries []string) (*Origins, error) {
	l := &Origins{exact: make(map[origin]bool)}
	var errs []error
	for i, entry := range entries {
		if err := l.add(entry); err != nil {
			errs = append(errs, fmt.Errorf("entry %d: %w", i+1, err))
		}
	}
	return l, errors.Join(errs...)
}

var (
	errOriginForm = errors.New("an origin is written as https://app.example.com, with a scheme, with a port unless it is the scheme's own, and without a path")
	errOriginWild = errors.New("a star stands for one whole label in front, as in https://*.example.com")
)

func (l *Origins) add(entry string) error {
	switch {
	case entry == "*":
		l.any = true
		return nil
	case strings.EqualFold(entry, originNull):
		l.null = true
		return nil
	}
	o, ok := parseOrigin(entry)
	if !ok {
		return whyNoOrigin(entry)
	}
	rest, wild := cutStar(o)
	if wild {
		o.host = rest
	}
	if strings.Contains(o.host, "*") {
		return errOriginWild
	}
	if err := o.settle(wild); err != nil {
		return err
	}
	if wild {
		l.wild = append(l.wild, o)
		return nil
	}
	l.exact[o] = true
	return nil
}

// whyNoOrigin says what the entry should be instead.
func whyNoOrigin(entry string) error {
	scheme, rest, ok := strings.Cut(strings.ToLower(entry), "://")
	switch {
	case !ok:
		return errOriginForm
	case scheme == "ws" || scheme == "wss":
		return errors.New("an origin is that of the page, with http or https, not of the feed")
	case slices.Contains(neverOrigins, scheme):
		return fmt.Errorf("no page has such an origin; browsers send null, or %s for pages of files", originFile)
	case strings.HasSuffix(rest, "/"):
		return errors.New("an origin has no path, not even a slash at its end")
	}
	return errOriginForm
}

// cutStar returns the host after the star of a wildcard. It is empty where the entry
// allows any host of an app's scheme, as for extensions whose id is generated at
// installation.
func cutStar(o origin) (rest string, wild bool) {
	if o.host == "*" && !o.isWeb() {
		return "", true
	}
	return strings.CutPrefix(o.host, "*.")
}

// settle brings host and port into the form that browsers send, or returns an error
// that says why browsers send no such origin.
func (o *origin) settle(wild bool) error {
	if o.port != "" {
		n, err := strconv.ParseUint(o.port, 10, 16)
		if err != nil || n == 0 {
			return errors.New("its port is none from 1 to 65535")
		}
		o.port = strconv.FormatUint(n, 10)
	}
	if !o.isWeb() {
		if strings.ContainsFunc(o.host, func(r rune) bool { return r > '~' }) {
			return errors.New("the host of an app's scheme is ASCII")
		}
		return nil
	}
	if addr, err := netip.ParseAddr(o.host); err == nil && !wild {
		if addr.Zone() != "" {
			return errors.New("browsers send no address with a zone")
		}
		o.host = addr.String()
		return nil
	}
	host, err := browserNames.ToASCII(o.host)
	if err != nil || !hostName.MatchString(host) || numeric.MatchString(host) {
		return errors.New("its host is no name or address of the network")
	}
	o.host = host
	if suffix, official := publicsuffix.PublicSuffix(host); wild && official && suffix == host {
		return errors.New("anybody can have a name there; write at least https://*.example.com")
	}
	return nil
}

// browserNames turns names into ASCII as browsers do (URL Standard, domain to
// ASCII).
var browserNames = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.CheckHyphens(false), idna.StrictDomainName(false), idna.BidiRule())

var (
	hostName = regexp.MustCompile(`^[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?$`)
	// Browsers take numeric hosts for addresses, and rewrite or refuse them.
	numeric = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)\.?$`)
)

// OriginWarnings returns one line for each allowed origin that is valid but usually a
// mistake.
func OriginWarnings(entries []string) []string {
	l, err := ReadOrigins(entries)
	if err != nil {
		return nil // it is refused
	}
	var lines []string
	if l.null {
		lines = append(lines, "null is allowed: any web page can have that origin, by a sandboxed frame")
	}
	if l.exact[origin{scheme: "file"}] && !l.null {
		lines = append(lines, "file:// is allowed and null is not: browsers send null for requests of pages of files, file:// at most for their WebSockets")
	}
	for _, o := range l.wild {
		suffix, official := publicsuffix.PublicSuffix(o.host)
		switch {
		case o.host == "":
			lines = append(lines, fmt.Sprintf("%s://* is allowed: every app or extension with that scheme can connect", o.scheme))
		case !official && suffix == o.host && strings.Contains(suffix, "."):
			lines = append(lines, fmt.Sprintf("%s://*.%s is allowed: everybody can have a page there", o.scheme, o.host))
		}
	}
	return lines
}

// CheckOrigins returns what is wrong with a list of allowed origins, entry by
// entry, or nil.
func CheckOrigins(entries []string) error {
	_, err := ReadOrigins(entries)
	return err
}
