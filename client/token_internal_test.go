package client

import (
	"encoding/base64"
	"testing"
	"time"
)

func TestExpiry(t *testing.T) {
	t.Parallel()
	at := func(sec int64) time.Time { return time.Unix(sec, 0) }
	for claims, want := range map[string]time.Time{
		`{"exp":1800000000}`:     at(1800000000),
		`{"exp":1.8e9}`:          at(1800000000),
		`{"exp":1800000000.5}`:   at(1800000000).Add(500 * time.Millisecond),
		`{"exp":253402300799}`:   at(253402300799),
		`{"exp":253402300800}`:   {},
		`{"exp":1e308}`:          {},
		`{"exp":0}`:              {},
		`{"exp":-5}`:             {},
		`{"exp":"1800000000"}`:   {},
		`{"exp":null}`:           {},
		`{}`:                     {},
		`[1]`:                    {},
		`{"exp":1800000000`:      {},
		`{"exp":[1800000000]}`:   {},
		`{"sub":"a","exp":true}`: {},
	} {
		token := "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
		if got := expiry(token); !got.Equal(want) {
			t.Errorf("expiry of %s: got %v, want %v", claims, got, want)
		}
	}
	for _, token := range []string{"", "opaque", "a.b", "a.!.c", "a.b.c.d", "..", "e30.eyJleHAiOjE4MDAwMDAwMDB9="} {
		if got := expiry(token); !got.IsZero() {
			t.Errorf("expiry of %q: got %v, want none", token, got)
		}
	}
}

func TestRenewIn(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for left, want := range map[time.Duration]time.Duration{
		time.Hour:                  59 * time.Minute,
		2 * time.Minute:            time.Minute,
		time.Minute:                30 * time.Second,
		time.Second:                500 * time.Millisecond,
		999 * time.Millisecond:     -1,
		-time.Second:               -1,
		100 * 365 * 24 * time.Hour: 100*365*24*time.Hour - time.Minute,
	} {
		got, ok := credential{token: "x", expires: now.Add(left)}.renewIn(now)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("renewal of a token with %s left: got %s, want %s", left, got, want)
		}
	}
	if got, ok := (credential{token: "x"}).renewIn(now); ok {
		t.Errorf("renewal of a token of unknown expiry: got it in %s, want never", got)
	}
}
