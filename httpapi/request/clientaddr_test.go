package request

import (
	"net/http"
	"net/netip"
	"testing"
	"time"
)

func TestClientAddr(t *testing.T) {
	t.Parallel()
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tc := range []struct {
		peer      string
		forwarded []string
		want      string
	}{
		{"192.0.2.1:99", nil, "192.0.2.1"},
		{"192.0.2.1:99", []string{"198.51.100.1"}, "192.0.2.1"},
		{"10.0.0.1:99", nil, "10.0.0.1"},
		{"10.0.0.1:99", []string{""}, "10.0.0.1"},
		{"10.0.0.1:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"10.0.0.1:99", []string{"2001:db8::1"}, "2001:db8::1"},
		{"10.0.0.1:99", []string{"6.6.6.6, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"6.6.6.6", "198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"10.0.0.1:99", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"10.0.0.1:99", []string{"6.6.6.6, garbage, 10.0.0.2"}, "10.0.0.2"},
		{"[::ffff:10.0.0.1]:99", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"[fd00::1]:99", []string{"198.51.100.1"}, "198.51.100.1"},
		{"pipe", []string{"198.51.100.1"}, "invalid IP"},
	} {
		r := &http.Request{RemoteAddr: tc.peer, Header: http.Header{"X-Forwarded-For": tc.forwarded}}
		if got := ClientAddr(r, trusted).String(); got != tc.want {
			t.Errorf("peer %s with %q: %s, want %s", tc.peer, tc.forwarded, got, tc.want)
		}
	}
}

func TestAddressLimiter(t *testing.T) {
	t.Parallel()
	l := NewLimiter[netip.Prefix](1)
	take := func(now time.Duration, addr string) bool {
		return l.Take(now, AddressKey(netip.MustParseAddr(addr))) == 0
	}
	if !take(0, "192.0.2.1") || take(0, "192.0.2.1") || take(0, "::ffff:192.0.2.1") || !take(0, "192.0.2.2") {
		t.Error("IPv4: want one allowance for each address, in every notation")
	}
	if !take(0, "2001:db8::1") || take(0, "2001:db8::2%eth0") || !take(0, "2001:db8:0:1::1") {
		t.Error("IPv6: want one allowance for each /64")
	}
	for i := range 10 * minSweep {
		addr := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		l.Take(time.Duration(i)*time.Second, AddressKey(addr))
	}
	if got := len(l.used); got > minSweep {
		t.Errorf("%d addresses are remembered, want at most %d", got, minSweep)
	}
}
