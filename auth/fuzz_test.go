package auth

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskfeed/taskfeed"
)

// FuzzVerify: every input is refused with CodeBadToken or is a token that the issuer
// signed. The corpus has both.
func FuzzVerify(f *testing.F) {
	v := fuzzVerifier(f)
	f.Fuzz(func(t *testing.T, token string) {
		wantSound(t, v, token)
	})
}

// FuzzVerifySigned is FuzzVerify for a header and claims that are signed; random
// input without a valid signature would hardly get as far as the claims.
func FuzzVerifySigned(f *testing.F) {
	v := fuzzVerifier(f)
	f.Fuzz(func(t *testing.T, header, claims string) {
		wantSound(t, v, signedText("HS256", secret, header, claims))
	})
}

// FuzzKeySet: whatever an issuer publishes, no key supports a secret algorithm and no
// key panics when it checks a signature.
func FuzzKeySet(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, _ := parseKeySet(text)
		for _, k := range keys {
			for _, algorithm := range k.algorithms {
				if !slices.Contains(publicAlgorithms, algorithm) {
					t.Errorf("algorithm: got %q, want one of %v", algorithm, publicAlgorithms)
				}
				_ = jwt.GetSigningMethod(algorithm).Verify("text", make([]byte, 64), k.material)
			}
		}
	})
}

func fuzzVerifier(f *testing.F) *Verifier {
	return newVerifier(f, Config{
		Secret: secret, Issuer: "https://issuer.example", Audience: "taskfeed", Type: "at+jwt",
		Now: func() time.Time { return noon },
	})
}

func wantSound(t *testing.T, v *Verifier, token string) {
	t.Helper()
	p, err := v.Verify(t.Context(), token)
	if err == nil {
		if !validUserID(p.UserID) || len(p.Feeds) > MaxFeeds || !allValid(p.Feeds) || slices.Contains(p.Feeds, p.UserID) || !p.ExpiresAt.After(noon) {
			t.Errorf("accepted: got %+v, want a valid user id and an expiry after %v", p, noon)
		}
		return
	}
	if refusal, _ := err.(*taskfeed.Error); !slices.Contains(refusals, refusal) {
		t.Errorf("error: got %v, want one of the fixed refusals, which hold nothing of a token", err)
	}
	if !reflect.DeepEqual(p, Principal{}) {
		t.Errorf("principal of a refused token: got %+v, want none", p)
	}
}

var refusals = []*taskfeed.Error{
	errMissing, errTooLong, errMalformed, errAlgorithm, errHeader, errKeyID, errUnknownKey, errType,
	errNoExpiry, errExpired, errBadTime, errNotYet, errIssuedLater, errIssuer, errAudience, errSubject, errFeeds,
}

func TestRefusalsAreBadTokens(t *testing.T) {
	t.Parallel()
	for _, refusal := range refusals {
		if refusal.Code != taskfeed.CodeBadToken || refusal.Err != nil {
			t.Errorf("%v: got code %s and cause %v, want %s and none", refusal, refusal.Code, refusal.Err, taskfeed.CodeBadToken)
		}
	}
}
