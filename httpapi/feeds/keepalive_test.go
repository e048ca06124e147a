package feeds

import (
	"testing"
	"time"
)

func TestKeepalive(t *testing.T) {
	t.Parallel()
	cfg := Config{PingInterval: 25 * time.Second, PongTimeout: 10 * time.Second}
	expect := func(k *keepalive, now, lastRead time.Duration, want verdict) {
		t.Helper()
		if got := k.look(now, lastRead, &cfg); got != want {
			t.Errorf("at %v, last heard of at %v: verdict %d, want %d", now, lastRead, got, want)
		}
	}
	var k keepalive
	k.start(0, cfg.PingInterval)
	if k.pingAt < cfg.PingInterval/2 || k.pingAt > cfg.PingInterval {
		t.Errorf("first ping at %v, want it in the second half of the first interval", k.pingAt)
	}
	k.pingAt = 20 * time.Second
	expect(&k, 19*time.Second, 0, verdictFine)
	expect(&k, 20*time.Second, 0, verdictPing)
	expect(&k, 44*time.Second, 0, verdictFine) // not written yet: the peer has nothing to answer
	k.pinged(20*time.Second, 21*time.Second, cfg.PongTimeout)
	expect(&k, 30*time.Second, 19*time.Second, verdictFine)
	expect(&k, 31*time.Second, 19*time.Second, verdictDead)
	early := k // a pong that was read before the ping's write returned was once not counted
	expect(&early, 31*time.Second, 20*time.Second+time.Microsecond, verdictFine)
	expect(&k, 31*time.Second, 22*time.Second, verdictFine)
	expect(&k, 45*time.Second, 22*time.Second, verdictPing)

	k.expireAt(46*time.Second, time.Now().Add(4*time.Second))
	expect(&k, 49*time.Second, 49*time.Second, verdictFine)
	expect(&k, 50*time.Second, 49*time.Second, verdictExpired)
	for _, at := range []time.Time{{}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)} {
		k.expireAt(time.Hour, at)
		if k.expires != never {
			t.Errorf("a token good until %v expires after %v, want never", at, k.expires)
		}
	}
	k.expireAt(time.Hour, time.Now().Add(-time.Minute))
	expect(&k, time.Hour, time.Hour, verdictExpired)

	k.start(0, 0)
	expect(&k, 1000*time.Hour, 0, verdictFine) // no pings
}
