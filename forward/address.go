package forward

import (
	"errors"
	"net/netip"
	"syscall"
)

var errNotPublic = errors.New("the address of the endpoint is not public, and private addresses are not allowed")

// notPublic are the networks of IPv4 that no public server is in, or that lead to
// services of the machine's own cloud.
var notPublic = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "172.16.0.0/12",
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4")

// Of IPv6, only global unicast addresses are public, apart from networks that carry other
// addresses or are for documents.
var (
	global6    = netip.MustParsePrefix("2000::/3")
	notPublic6 = prefixes("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
	nat64      = netip.MustParsePrefix("64:ff9b::/96") // ends with the IPv4 address that it leads to
)

func prefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// public reports whether an address belongs to the public internet.
func public(ip netip.Addr) bool {
	ip = ip.Unmap()
	if ip.Zone() != "" {
		return false
	}
	if ip.Is4() {
		return !contains(notPublic, ip)
	}
	if nat64.Contains(ip) {
		b := ip.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	return global6.Contains(ip) && !contains(notPublic6, ip)
}

func contains(all []netip.Prefix, ip netip.Addr) bool {
	for _, p := range all {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// refusePrivate is for net.Dialer.Control: it sees the address that is dialled, after the
// name was resolved, so a name cannot lead to another address than the one checked.
func refusePrivate(network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || network != "tcp4" && network != "tcp6" || !public(at.Addr()) {
		return errNotPublic
	}
	return nil
}
