package forward

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// The example of Standard Webhooks.
func TestSign(t *testing.T) {
	t.Parallel()
	secrets, err := ParseSecrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	if err != nil {
		t.Fatal(err)
	}
	got := sign(secrets, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	first, second, _ := strings.Cut(got, " ")
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; first != want || !strings.HasPrefix(second, "v1,") || second == first {
		t.Errorf("got %q, want %q and that of the second secret", got, want)
	}
	if got := fmt.Sprintf("%v %+v %#v %s", secrets, secrets[0], secrets, secrets[0].LogValue()); strings.Contains(got, "49") || !strings.Contains(got, "REDACTED") {
		t.Errorf("a secret prints as %s", got)
	}
}

func TestSecretsRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_short", "whsec_!!!!", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw,x", "whsec_" + strings.Repeat("AAAA", 22)} {
		if got, err := ParseSecrets(text); err == nil || strings.Contains(err.Error(), "MfKQ9r8") {
			t.Errorf("%q: got %d secrets, %v, want an error without the secret", text, len(got), err)
		}
	}
}

func TestPublicAddresses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"8.8.8.8": true, "1.1.1.1": true, "172.32.0.1": true, "100.128.0.1": true, "2606:4700::1111": true, "64:ff9b::8.8.8.8": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.9.9.9": false, "0.0.0.0": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.100.100.200": false, "168.63.129.16": false, "192.0.0.192": false, "198.18.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"::1": false, "::": false, "::ffff:127.0.0.1": false, "::127.0.0.1": false, "::ffff:169.254.169.254": false, "fe80::1": false, "fe80::1%eth0": false,
		"fd00:ec2::254": false, "fc00::1": false, "ff02::1": false, "64:ff9b::169.254.169.254": false, "64:ff9b:1::1": false, "2002:7f00:1::": false,
		"2001::1": false, "2001:db8::1": false, "2606:4700::1111%eth0": false, "::ffff:0:127.0.0.1": false,
	} {
		if got := public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: got %t, want %t", text, got, want)
		}
	}
	for _, address := range []string{"127.0.0.1:443", "[::1]:443", "[fe80::1%lo]:443", "no address", "/tmp/socket"} {
		if refusePrivate("tcp4", address, nil) == nil {
			t.Errorf("%s is dialled, want it refused", address)
		}
	}
	if err := refusePrivate("tcp6", "[2606:4700::1111]:443", nil); err != nil {
		t.Errorf("a public address: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-7": 0, "x": 0, "999999": maxRetryAfter, "99999999999999": 0,
		"Thu, 01 Jan 2026 00:00:30 GMT": 30 * time.Second, "Thu, 01 Jan 2015 00:00:30 GMT": 0} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("Retry-After %q: got %v, want %v", header, got, want)
		}
	}
}
