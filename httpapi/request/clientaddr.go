package request

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientAddr returns the client's address for limits and logs: the peer's, or, behind
// trusted proxies, the last address in X-Forwarded-For that is not one of theirs.
// Earlier entries of that header could be forged.
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

// AddressKey is the network that a client's address is limited by: for IPv6 its /64,
// because a client may use all addresses of it.
func AddressKey(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr = addr.Unmap(); addr.Is6() {
		bits = 64
	}
	key, _ := addr.WithZone("").Prefix(bits) // the zero prefix for an address that could not be read
	return key
}
