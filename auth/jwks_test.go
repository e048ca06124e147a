package auth

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed"
)

// Over real sockets and without Run, the first token fetches the keys.
func TestKeySetOverHTTP(t *testing.T) {
	t.Parallel()
	var i issuer
	i.publish(jwk("one", ecKey()))
	server := httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(server.Close)
	v := newVerifier(t, Config{JWKSURL: server.URL + "/keys", Now: time.Now})
	for range 3 {
		wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
	}
	i.wantFetches(t, 1)
	server.Close()
	wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
}

func TestKeySetRotation(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		first, second := newECKey(elliptic.P256()), newECKey(elliptic.P256())
		i := newIssuer(t, jwk("first", first))
		v := i.verifier(t, Config{})
		run(t, v)
		wantAccepted(t, v, tokenOf("first", first), "alice")

		i.publish(jwk("first", first), jwk("second", second))
		time.Sleep(fetchCooldown)
		wantAccepted(t, v, tokenOf("second", second), "alice")
		wantAccepted(t, v, tokenOf("first", first), "alice")
		i.wantFetches(t, 2)

		i.publish(jwk("second", second))
		wantAccepted(t, v, tokenOf("first", first), "alice") // the set has not been fetched since
		time.Sleep(defaultJWKSRefresh * 11 / 10)
		wantRefused(t, v, tokenOf("first", first), errUnknownKey)
		wantAccepted(t, v, tokenOf("second", second), "alice")
	})
}

func TestKeySetStaleWhileDown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		v := i.verifier(t, Config{})
		run(t, v)
		i.down()
		time.Sleep(12 * time.Hour)
		wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
		// The key may exist by now; that is unknown until the set is fetched.
		wantUnavailable(t, v, tokenOf("two", ecKey()))
		// With a known key, a bad signature is refused without a fetch.
		wantRefused(t, v, tokenOf("one", newECKey(elliptic.P256())), errUnknownKey)

		i.publish(jwk("two", ecKey()))
		time.Sleep(longestFetchWait)
		wantAccepted(t, v, tokenOf("two", ecKey()), "alice")
		wantRefused(t, v, tokenOf("one", ecKey()), errUnknownKey)
	})
}

func TestKeySetNeverFetched(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		i.down()
		v := i.verifier(t, Config{})
		for range 5 {
			wantUnavailable(t, v, tokenOf("one", ecKey()))
			wantUnavailable(t, v, tokenOf("", ecKey()))
		}
		i.wantFetches(t, 1)
		wantRefused(t, v, signed(nil, claims()), errAlgorithm) // refused without a key set

		i.publish(jwk("one", ecKey()))
		wantUnavailable(t, v, tokenOf("one", ecKey()))
		time.Sleep(fetchCooldown)
		wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
		i.wantFetches(t, 2)
	})
}

func TestKeySetConnectionRefused(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t)
		v := i.verifier(t, Config{})
		i.server.Close()
		wantUnavailable(t, v, tokenOf("one", ecKey()))
	})
}

func TestBadInput55UnknownKeyIDs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		v := i.verifier(t, Config{})
		wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
		for round := range int64(3) { // one fetch every ten seconds
			for _, kid := range []string{
				"../../x", "' OR 1=1; --", "https://evil.example/keys", "file:///etc/passwd", "unknown", "ONE", "one\x00",
				strings.Repeat("k", 4<<10),
			} {
				wantRefused(t, v, tokenOf(kid, ecKey()), errUnknownKey)
			}
			i.wantFetches(t, 1+round)
			time.Sleep(fetchCooldown - time.Nanosecond)
			wantRefused(t, v, tokenOf("unknown", ecKey()), errUnknownKey)
			i.wantFetches(t, 1+round)
			time.Sleep(time.Nanosecond)
		}
	})
}

func TestBadInput55ConcurrentUnknownKeyIDs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		v := i.verifier(t, Config{})
		var wg sync.WaitGroup
		for n := range 20 {
			wg.Go(func() { wantRefused(t, v, tokenOf(fmt.Sprint("unknown", n), ecKey()), errUnknownKey) })
		}
		wg.Go(func() { wantAccepted(t, v, tokenOf("one", ecKey()), "alice") })
		wg.Wait()
		i.wantFetches(t, 1)
	})
}

func TestBadInput55HeaderNamesAKeyNoFetch(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		v := i.verifier(t, Config{Secret: secret})
		for _, name := range []string{"jku", "x5u", "jwk", "crit"} {
			header := object{"kid": "new", name: i.server.URL}
			wantRefused(t, v, signedWith("ES256", ecKey(), header, claims()), errHeader)
		}
		wantRefused(t, v, signedWith("ES256", ecKey(), object{"kid": 7}, claims()), errKeyID)
		token := signed(object{"kid": "of a secret"}, claims(object{"exp": time.Now().Add(time.Hour).Unix()}))
		wantAccepted(t, v, token, "alice") // a shared secret needs no key set
		i.wantFetches(t, 0)
	})
}

func TestKeySetWithoutKeyID(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("other", newECKey(elliptic.P256())), jwk("rsa", rsaKey()), jwk("one", ecKey()))
		v := i.verifier(t, Config{})
		wantAccepted(t, v, tokenOf("", ecKey()), "alice")
		wantRefused(t, v, tokenOf("", newECKey(elliptic.P256())), errUnknownKey)
		wantRefused(t, v, signedWith("EdDSA", edKey(), nil, claims()), errUnknownKey)
		i.wantFetches(t, 1)
	})
}

// An answer that is not a key set does not change the keys.
func TestKeySetBadAnswers(t *testing.T) {
	many := `{"keys":[{}` + strings.Repeat(`,{}`, maxKeySetKeys) + `]}`
	for name, answer := range map[string]http.HandlerFunc{
		"no JSON":         textAnswer("<html>sign in</html>"),
		"no set":          textAnswer(`{"error":"down"}`),
		"null":            textAnswer(`{"keys":null}`),
		"array":           textAnswer(`[]`),
		"cut off":         textAnswer(`{"keys":[`),
		"too many keys":   textAnswer(many),
		"not found":       func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"no content":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"redirect":        func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"huge body":       func(w http.ResponseWriter, r *http.Request) { writeForever(w, r, 64<<10, 0) },
		"one byte a time": func(w http.ResponseWriter, r *http.Request) { writeForever(w, r, 1, time.Second) },
		"never":           func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"huge header": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Huge", strings.Repeat("x", 1<<20))
			_, _ = w.Write([]byte(`{"keys":[]}`))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				i := newIssuer(t, jwk("one", ecKey()))
				v := i.verifier(t, Config{})
				wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
				i.answers(answer)
				time.Sleep(fetchCooldown)
				start := time.Now()
				wantUnavailable(t, v, tokenOf("two", ecKey()))
				if got := time.Since(start); got > fetchTimeout {
					t.Errorf("fetch: took %v of fake time, want at most %v", got, fetchTimeout)
				}
				wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
				i.wantFetches(t, 2)
			})
		})
	}
}

func textAnswer(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

func writeForever(w http.ResponseWriter, r *http.Request, size int, pause time.Duration) {
	for r.Context().Err() == nil {
		if _, err := w.Write(bytes.Repeat([]byte(" "), size)); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(pause)
	}
}

// An empty set is valid: the issuer has revoked all keys.
func TestKeySetEmptied(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		v := i.verifier(t, Config{})
		run(t, v)
		wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
		i.publish()
		time.Sleep(defaultJWKSRefresh * 11 / 10)
		wantRefused(t, v, tokenOf("one", ecKey()), errUnknownKey)
		wantRefused(t, v, tokenOf("", ecKey()), errUnknownKey)
	})
}

// A key that cannot be used does not affect the others.
func TestKeySetUselessKeys(t *testing.T) {
	oct := object{"kty": "oct", "kid": "bad", "k": encode(string(secret)), "alg": "HS256"}
	for name, bad := range map[string]object{
		"secret":           oct,
		"private":          jwk("bad", ecKey(), object{"d": encode(strings.Repeat("d", 32))}),
		"for encryption":   jwk("bad", ecKey(), object{"use": "enc"}),
		"unknown use":      jwk("bad", ecKey(), object{"use": canary}),
		"signs only":       jwk("bad", ecKey(), object{"key_ops": []string{"sign"}}),
		"other algorithm":  jwk("bad", ecKey(), object{"alg": "ES384"}),
		"algorithm none":   jwk("bad", ecKey(), object{"alg": "none"}),
		"secret algorithm": jwk("bad", ecKey(), object{"alg": "HS256"}),
		"not on its curve": jwk("bad", ecKey(), object{"x": encode(strings.Repeat("x", 32))}),
		"other curve":      jwk("bad", ecKey(), object{"crv": "P-384"}),
		"unknown kind":     {"kty": canary, "kid": "bad"},
		"kid is a number":  jwk("bad", ecKey(), object{"kid": 7}),
		"short RSA":        jwk("bad", shortRSAKey()),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				i := newIssuer(t, bad, jwk("good", rsaKey()))
				v := i.verifier(t, Config{})
				exp := object{"exp": time.Now().Add(time.Hour).Unix()}
				wantAccepted(t, v, signedWith("RS256", rsaKey(), object{"kid": "good"}, claims(exp)), "alice")
				wantRefused(t, v, tokenOf("bad", ecKey()), errUnknownKey)
				wantRefused(t, v, signed(object{"kid": "bad"}, claims(exp)), errAlgorithm)
			})
		})
	}
}

func TestKeySetKeyDetails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t,
			jwk("pinned", rsaKey(), object{"alg": "RS512", "use": "sig", "key_ops": []string{"verify"}}),
			jwk("ed", edKey()),
			// jwkset alone would fetch x5u and refuse the broken x5c.
			jwk("x5u", ecKey(), object{"x5u": "http://127.0.0.1/cert", "x5c": []string{canary}}),
		)
		v := i.verifier(t, Config{})
		exp := object{"exp": time.Now().Add(time.Hour).Unix()}
		pinned := object{"kid": "pinned"}
		wantAccepted(t, v, signedWith("RS512", rsaKey(), pinned, claims(exp)), "alice")
		wantRefused(t, v, signedWith("RS256", rsaKey(), pinned, claims(exp)), errUnknownKey)
		wantAccepted(t, v, signedWith("EdDSA", edKey(), object{"kid": "ed"}, claims(exp)), "alice")
		wantAccepted(t, v, tokenOf("x5u", ecKey()), "alice")
		i.wantFetches(t, 1)
	})
}

// A caller that stops waiting gets CodeUnavailable although the last fetch succeeded:
// the key may exist.
func TestKeySetWaiterHangsUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		v := i.verifier(t, Config{})
		wantAccepted(t, v, tokenOf("one", ecKey()), "alice")
		i.answers(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		time.Sleep(fetchCooldown)
		var wg sync.WaitGroup
		wg.Go(func() { wantUnavailable(t, v, tokenOf("two", ecKey())) })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := v.Verify(ctx, tokenOf("two", ecKey()))
		if taskfeed.CodeOf(err) != taskfeed.CodeUnavailable || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Verify: got %v, want %s because of the deadline", err, taskfeed.CodeUnavailable)
		}
		wg.Wait()
	})
}

// The fetch goes on for those who wait when the caller that began it hangs up.
func TestKeySetCallersHangUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		set := i.answer
		i.answers(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(3 * time.Second)
			set(w, r)
		})
		v, token := i.verifier(t, Config{}), tokenOf("one", ecKey())
		start := time.Now()
		within := func(d time.Duration) (took time.Duration, err error) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			_, err = v.Verify(ctx, token)
			return time.Since(start), err
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if took, err := within(time.Second); err != nil || took != 3*time.Second {
				t.Errorf("the caller that fetches: got error %v after %v, want none after 3s", err, took)
			}
		})
		synctest.Wait()
		wg.Go(func() {
			took, err := within(time.Second)
			if taskfeed.CodeOf(err) != taskfeed.CodeUnavailable || took != time.Second {
				t.Errorf("a caller that waits: got error %v after %v, want %s after 1s", err, took, taskfeed.CodeUnavailable)
			}
		})
		wg.Go(func() {
			if took, err := within(time.Minute); err != nil || took != 3*time.Second {
				t.Errorf("a patient caller: got error %v after %v, want none after 3s", err, took)
			}
		})
		wg.Wait()
		i.wantFetches(t, 1)
	})
}

func TestRunRefreshes(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		run(t, i.verifier(t, Config{JWKSRefresh: time.Hour}))
		i.wantFetches(t, 1)
		time.Sleep(54*time.Minute - time.Nanosecond)
		i.wantFetches(t, 1)
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		i.wantFetches(t, 2)
		time.Sleep(100 * time.Hour)
		synctest.Wait()
		if got := i.fetches.Load(); got < 90 || got > 115 {
			t.Errorf("fetches in 101 hours: got %d, want one an hour, give or take a tenth", got)
		}
	})
}

func TestRunRetries(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t, jwk("one", ecKey()))
		i.down()
		var log bytes.Buffer
		run(t, i.verifier(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}))
		time.Sleep(time.Second) // the first retry
		synctest.Wait()
		if got := i.fetches.Load(); got < 2 {
			t.Errorf("fetches in the first second: got %d, want at least 2", got)
		}
		time.Sleep(time.Hour) // then at most two a minute, at least one
		synctest.Wait()
		if got := i.fetches.Load(); got < 60 || got > 140 {
			t.Errorf("fetches in an hour: got %d, want 60 to 140", got)
		}
		i.publish(jwk("one", ecKey()))
		time.Sleep(longestFetchWait)
		synctest.Wait()
		for _, want := range []string{"key set not fetched", "status 503", "key set fetched again"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log: got %.2000s, want %q in it", log.String(), want)
			}
		}
		if strings.Contains(log.String(), "/keys") {
			t.Errorf("log: got %.2000s, want the host alone, not the path", log.String())
		}
	})
}

func TestRunWarnsWithoutTLS(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]bool{
		"http://issuer.example/keys":  true,
		"http://10.0.0.1/keys":        true,
		"https://issuer.example/keys": false,
		"http://localhost:8080/keys":  false,
		"http://127.0.0.2/keys":       false,
		"http://[::1]:8080/keys":      false,
	} {
		var log bytes.Buffer
		v := newVerifier(t, Config{JWKSURL: url, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		v.keySet.warnWithoutTLS()
		if got := strings.Contains(log.String(), "without tls"); got != want {
			t.Errorf("warning for %s: got %t, want %t", url, got, want)
		}
	}
}

func TestRunWithoutKeySet(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		v := newVerifier(t, Config{Secret: secret})
		ctx, stop := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- v.Run(ctx) }()
		time.Sleep(time.Hour)
		select {
		case err := <-ended:
			t.Fatalf("Run: ended with %v before its context", err)
		default:
		}
		stop(errors.New("a signal"))
		if err := <-ended; err != nil {
			t.Errorf("Run: got %v, want nil", err)
		}
	})
}
