package auth

import (
	"crypto/ed25519"
	"testing"
	"time"
)

// TestEd25519 is bad input 104: jose 6 and other libraries call the algorithm Ed25519,
// as RFC 9864 says. Once, their tokens were refused.
func TestEd25519(t *testing.T) {
	t.Parallel()
	newer := object{"alg": "Ed25519"}
	file := publicPEM(t, edKey())
	public := []byte(edKey().Public().(ed25519.PublicKey))
	_, another, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}

	for _, algorithms := range [][]string{nil, {"EdDSA"}, {"Ed25519"}, {"EdDSA", "Ed25519"}} {
		v := newVerifier(t, Config{PublicKeyFiles: []string{file}, Secret: secret, Algorithms: algorithms})
		wantAccepted(t, v, signedWith("EdDSA", edKey(), newer, claims()), "alice")
		wantAccepted(t, v, signedWith("EdDSA", edKey(), nil, claims()), "alice")
		wantRefused(t, v, signedWith("EdDSA", another, newer, claims()), errUnknownKey)
		for _, name := range []string{"ed25519", "ED25519", "Ed448", "Ed25519ph", "ESP256", "ESP384", "ESP512", "ESB256", "ES256K"} {
			wantRefused(t, v, signedWith("EdDSA", edKey(), object{"alg": name}, claims()), errAlgorithm)
		}
		wantRefused(t, v, signedWith("HS256", public, newer, claims()), errUnknownKey)
		wantRefused(t, v, signedWith("HS256", secret, newer, claims()), errUnknownKey)
	}
	for name, cfg := range map[string]Config{
		"a secret alone":        {Secret: secret},
		"an RSA key":            {PublicKeyFiles: []string{publicPEM(t, rsaKey())}},
		"an ECDSA key":          {PublicKeyFiles: []string{publicPEM(t, ecKey())}},
		"another one narrowed":  {Secret: secret, PublicKeyFiles: []string{file}, Algorithms: []string{"HS256"}},
		"the key and RSA alone": {PublicKeyFiles: []string{file, publicPEM(t, rsaKey())}, Algorithms: []string{"RS256"}},
	} {
		t.Run(name, func(t *testing.T) {
			wantRefused(t, newVerifier(t, cfg), signedWith("EdDSA", edKey(), newer, claims()), errAlgorithm)
		})
	}
	ec := newVerifier(t, Config{PublicKeyFiles: []string{publicPEM(t, ecKey())}})
	wantRefused(t, ec, signedWith("ES256", ecKey(), object{"alg": "ESP256"}, claims()), errAlgorithm)
	if _, err := New(Config{PublicKeyFiles: []string{publicPEM(t, rsaKey())}, Algorithms: []string{"Ed25519"}}); err == nil {
		t.Error("Ed25519 without such a key: got no error, want one")
	}
}

func TestEd25519InKeySets(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		i := newIssuer(t,
			jwk("newer", edKey(), object{"alg": "Ed25519"}),
			jwk("older", edKey(), object{"alg": "EdDSA"}),
			jwk("none", edKey(), object{"alg": nil}),
			jwk("wrong", edKey(), object{"alg": "ES256"}),
			jwk("ed448", edKey(), object{"alg": "Ed448"}),
			jwk("curve", edKey(), object{"crv": "Ed448"}),
			jwk("ec", ecKey(), object{"alg": "Ed25519"}),
			jwk("rsa", rsaKey(), object{"alg": "Ed25519"}),
		)
		v := i.verifier(t, Config{})
		exp := object{"exp": time.Now().Add(time.Hour).Unix()}
		for _, alg := range []string{"EdDSA", "Ed25519"} {
			for _, kid := range []string{"newer", "older", "none"} {
				wantAccepted(t, v, signedWith("EdDSA", edKey(), object{"alg": alg, "kid": kid}, claims(exp)), "alice")
			}
			for _, kid := range []string{"wrong", "ed448", "curve", "ec", "rsa"} {
				wantRefused(t, v, signedWith("EdDSA", edKey(), object{"alg": alg, "kid": kid}, claims(exp)), errUnknownKey)
			}
		}
		wantRefused(t, v, signedWith("ES256", ecKey(), object{"alg": "Ed25519", "kid": "ec"}, claims(exp)), errUnknownKey)
		i.wantFetches(t, 1)
	})
}
