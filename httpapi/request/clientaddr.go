package request

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr is the address that limits and logs go by: the peer's, or what the
// trusted proxies in front say about it. Of X-Forwarded-For only the part that
// trusted proxies wrote is believed: the last address that is none of theirs.
func ClientAddr(r *http.Request, trusted []netip.Prefix) netip.Addr {
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

// AddressKey is what a client address is limited by: an IPv6 client is its /64, for it
// may use all of it.
func AddressKey(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	key, _ := addr.WithZone("").Prefix(bits) // the zero prefix for an address that could not be read
	return key
}
