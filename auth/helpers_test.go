package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskfeed/taskfeed"
)

// canary is text in claims and headers that no error and no log may show.
const canary = "canary-in-a-claim"

var (
	secret = []byte("a secret of tests: 0123456789abcdef")
	noon   = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rsaKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey  = sync.OnceValue(func() *ecdsa.PrivateKey { return newECKey(elliptic.P256()) })
	edKey  = sync.OnceValue(func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newECKey(curve elliptic.Curve) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(curve, rand.Reader))
}

type object = map[string]any

// claims returns claims that are valid at noon, with changes; a nil value removes one.
func claims(changes ...object) object {
	good := object{"sub": "alice", "exp": noon.Add(time.Hour).Unix(), "note": canary}
	return changed(good, changes...)
}

func changed(base object, changes ...object) object {
	all := maps.Clone(base)
	for _, change := range changes {
		maps.Copy(all, change)
	}
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return all
}

// signed returns a token with HS256 and the test secret.
func signed(header, claims object) string {
	return signedWith("HS256", secret, header, claims)
}

func signedWith(algorithm string, key any, header, claims object) string {
	header = changed(object{"alg": algorithm, "typ": "JWT"}, header)
	return signedText(algorithm, key, string(must(json.Marshal(header))), string(must(json.Marshal(claims))))
}

// signedText signs a header and claims that need not be JSON.
func signedText(algorithm string, key any, header, claims string) string {
	text := encode(header) + "." + encode(claims)
	return text + "." + encode(string(must(jwt.GetSigningMethod(algorithm).Sign(text, key))))
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func newVerifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = func() time.Time { return noon }
	}
	v, err := New(cfg)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return v
}

func wantAccepted(t *testing.T, v *Verifier, token, userID string) Principal {
	t.Helper()
	p, err := v.Verify(t.Context(), token)
	if err != nil {
		t.Errorf("Verify: got error %v, want user %q", err, userID)
	} else if p.UserID != userID {
		t.Errorf("Verify: got user %q, want %q", p.UserID, userID)
	}
	return p
}

// wantRefused also checks that the error shows nothing of the token.
func wantRefused(t *testing.T, v *Verifier, token string, want *taskfeed.Error) {
	t.Helper()
	p, err := v.Verify(t.Context(), token)
	if !errors.Is(err, want) {
		t.Errorf("Verify: got user %q and error %v, want error %q", p.UserID, err, want.Message)
	}
	if got := taskfeed.CodeOf(err); got != taskfeed.CodeBadToken {
		t.Errorf("code: got %s, want %s", got, taskfeed.CodeBadToken)
	}
	if !reflect.DeepEqual(p, Principal{}) {
		t.Errorf("principal of a refused token: got %+v, want none", p)
	}
	wantNothingOf(t, token, err)
}

// wantNothingOf checks that no text in the error's chain holds the token, a part
// of it or a claim.
func wantNothingOf(t *testing.T, token string, err error) {
	t.Helper()
	parts := append(strings.SplitN(token, ".", 4), token, canary)
	for ; err != nil; err = errors.Unwrap(err) {
		for _, part := range parts {
			if len(part) >= 8 && strings.Contains(err.Error(), part) {
				t.Errorf("error text: got %q, want nothing of the token such as %q", err, part)
			}
		}
	}
}

// publicPEM writes the public key to a file and returns its path.
func publicPEM(t *testing.T, private crypto.Signer) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		t.Fatalf("marshal the public key: %v", err)
	}
	return pemFile(t, pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func pemFile(t *testing.T, blocks ...pem.Block) string {
	t.Helper()
	var text []byte
	for _, block := range blocks {
		text = append(text, pem.EncodeToMemory(&block)...)
	}
	return textFile(t, string(text))
}

func textFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("write the file: %v", err)
	}
	return path
}
