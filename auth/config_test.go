package auth

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// wantConfigError checks the lines of New's error. Each wanted line is how it begins
// and, after a |, what else it says.
func wantConfigError(t *testing.T, cfg Config, want ...string) {
	t.Helper()
	_, err := New(cfg)
	if err == nil {
		t.Fatalf("New: got no error, want %q", want)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(want) {
		t.Fatalf("New: got %d errors %q, want %d: %q", len(lines), lines, len(want), want)
	}
	for i, line := range lines {
		setting, says, _ := strings.Cut(want[i], "|")
		if !strings.HasPrefix(line, setting) || !strings.Contains(line, says) {
			t.Errorf("error %d: got %q, want it to begin with %q and to say %q", i, line, setting, says)
		}
	}
}

func TestBadInput65Configuration(t *testing.T) {
	t.Parallel()
	rsaFile := publicPEM(t, rsaKey())
	pemText := string(must(os.ReadFile(rsaFile)))
	const url = "https://issuer.example/keys"
	for _, c := range []struct {
		name string
		cfg  Config
		want []string
	}{
		{"no source", Config{}, []string{"Secret, PublicKeyFiles, JWKSURL:|set one of them"}},
		{"secret of 31 bytes", Config{Secret: secret[:31]}, []string{"Secret:|31 bytes"}},
		{"PEM pasted as secret", Config{Secret: []byte(pemText)}, []string{"Secret:|PEM"}},
		{"PEM pasted as path", Config{PublicKeyFiles: []string{pemText}}, []string{"PublicKeyFiles:|not the path of a file"}},
		{"file and URL", Config{PublicKeyFiles: []string{rsaFile}, JWKSURL: url}, []string{"PublicKeyFiles, JWKSURL:|one of them"}},
		{"URL without scheme", Config{JWKSURL: "issuer.example/keys"}, []string{"JWKSURL:|https"}},
		{"URL of a file", Config{JWKSURL: "file:///etc/keys"}, []string{"JWKSURL:|https"}},
		{"URL without host", Config{JWKSURL: "https:///keys"}, []string{"JWKSURL:|https"}},
		{"URL that cannot be parsed", Config{JWKSURL: "https://issuer.example:port/" + canary}, []string{"JWKSURL:|https"}},
		{"URL with a password", Config{JWKSURL: "https://user:" + canary + "@issuer.example/keys"}, []string{"JWKSURL:|password"}},
		{"algorithm none", Config{Secret: secret, Algorithms: []string{"none"}}, []string{"Algorithms:|none"}},
		{"algorithm in lower case", Config{Secret: secret, Algorithms: []string{"HS256", "hs384"}}, []string{"Algorithms:|hs384"}},
		{"algorithm without a key", Config{Secret: secret, Algorithms: []string{"HS256", "RS256"}}, []string{"Algorithms:|check RS256"}},
		{"secret algorithm for a URL", Config{JWKSURL: url, Algorithms: []string{"HS256"}}, []string{"Algorithms:|check HS256"}},
		{"role claim sub", Config{Secret: secret, RoleClaim: "sub"}, []string{"RoleClaim:|sub"}},
		{"feeds claim sub", Config{Secret: secret, FeedsClaim: "sub"}, []string{"FeedsClaim:|sub"}},
		{"feeds claim role", Config{Secret: secret, FeedsClaim: "role"}, []string{"FeedsClaim:|role"}},
		{"leeway of an hour", Config{Secret: secret, Leeway: time.Hour}, []string{"Leeway:|1h0m0s"}},
		{"refresh each second", Config{JWKSURL: url, JWKSRefresh: time.Second}, []string{"JWKSRefresh:|1s"}},
		{"refresh never", Config{JWKSURL: url, JWKSRefresh: -1}, []string{"JWKSRefresh:|-1ns"}},
		{"everything at once", Config{
			Secret: []byte(canary), PublicKeyFiles: []string{"/none/a", "/none/b"}, JWKSURL: canary,
			Algorithms: []string{"x", "y"}, RoleClaim: "exp", Leeway: time.Hour, JWKSRefresh: 1,
		}, []string{
			"PublicKeyFiles, JWKSURL:", "Secret:", "JWKSURL:",
			"Algorithms:|x", "Algorithms:|y", "RoleClaim:", "Leeway:",
			"JWKSRefresh:", "PublicKeyFiles:|/none/a", "PublicKeyFiles:|/none/b",
		}},
	} {
		t.Run("bad input 65: "+c.name, func(t *testing.T) {
			t.Parallel()
			wantConfigError(t, c.cfg, c.want...)
			if _, err := New(c.cfg); strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("error: got %q, want nothing of the secret or URL", err)
			}
		})
	}
}

func TestBadInput65KeyFiles(t *testing.T) {
	t.Parallel()
	pkix := func(key crypto.Signer) pem.Block {
		return pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key.Public()))}
	}
	sec1 := must(x509.MarshalECPrivateKey(ecKey()))
	private := "this is a private key"
	for _, c := range []struct{ name, path, says string }{
		{"private key, PKCS #8", pemFile(t, pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(rsaKey()))}), private},
		{"private key, PKCS #1", pemFile(t, pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey())}), private},
		{"private key after its curve", pemFile(t, pem.Block{Type: "EC PARAMETERS"}, pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), private},
		{"private key after its public key", pemFile(t, pkix(ecKey()), pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1}), private},
		{"encrypted private key", pemFile(t, pem.Block{Type: "ENCRYPTED PRIVATE KEY"}), private},
		{"private key of ssh", pemFile(t, pem.Block{Type: "OPENSSH PRIVATE KEY"}), private},
		{"no PEM", textFile(t, "ssh-rsa AAAA"), "0 PEM blocks"},
		{"empty", textFile(t, ""), "0 PEM blocks"},
		{"two keys", pemFile(t, pkix(rsaKey()), pkix(ecKey())), "2 PEM blocks"},
		{"another block", pemFile(t, pem.Block{Type: "X509 CRL"}), "X509 CRL"},
		{"damaged key", pemFile(t, pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1, 2, 3}}), "asn1"},
		{"damaged certificate", pemFile(t, pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2, 3}}), "x509"},
		{"short RSA key", pemFile(t, pkix(shortRSAKey())), "1024 bits"},
		{"curve without an algorithm", pemFile(t, pkix(newECKey(elliptic.P224()))), "kind"},
		{"too large", textFile(t, strings.Repeat("\n", maxKeyFileBytes+1)), "65536 bytes"},
		{"missing", filepath.Join(t.TempDir(), "none.pem"), "no such file"},
		{"directory", t.TempDir(), "not a regular file"},
		{"device", "/dev/zero", "not a regular file"},
	} {
		t.Run("bad input 65: key file: "+c.name, func(t *testing.T) {
			t.Parallel()
			wantConfigError(t, Config{PublicKeyFiles: []string{c.path}}, "PublicKeyFiles: |"+c.says)
		})
	}
}

// shortRSAKey makes a key that crypto/rsa refuses to make.
func shortRSAKey() crypto.Signer {
	n := new(big.Int).Lsh(big.NewInt(1), 1023)
	return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537}}
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	p384, p521 := newECKey(elliptic.P384()), newECKey(elliptic.P521())
	cfg := Config{Secret: secret, PublicKeyFiles: []string{
		publicPEM(t, rsaKey()), publicPEM(t, ecKey()), publicPEM(t, p384), publicPEM(t, p521), publicPEM(t, edKey()),
	}}
	v := newVerifier(t, cfg)
	private := map[string]any{"HS": secret, "RS": rsaKey(), "PS": rsaKey(), "ES256": ecKey(), "ES384": p384, "ES512": p521, "Ed": edKey()}
	for _, algorithm := range allAlgorithms {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			key, ok := private[algorithm]
			if !ok {
				key = private[algorithm[:2]]
			}
			token := signedWith(algorithm, key, object{"kid": "is ignored"}, claims())
			wantAccepted(t, v, token, "alice")

			allowed := slices.DeleteFunc(slices.Clone(allAlgorithms), func(name string) bool { return name == algorithm })
			narrow := cfg
			narrow.Algorithms = allowed
			wantRefused(t, newVerifier(t, narrow), token, errAlgorithm)
		})
	}
}

func TestSeveralKeysOfOneKind(t *testing.T) {
	t.Parallel()
	first, second, third := newECKey(elliptic.P256()), newECKey(elliptic.P256()), newECKey(elliptic.P256())
	v := newVerifier(t, Config{PublicKeyFiles: []string{publicPEM(t, first), publicPEM(t, second)}})
	wantAccepted(t, v, signedWith("ES256", first, nil, claims()), "alice")
	wantAccepted(t, v, signedWith("ES256", second, nil, claims()), "alice")
	wantRefused(t, v, signedWith("ES256", third, nil, claims()), errUnknownKey)
}

func TestKeyFileKinds(t *testing.T) {
	t.Parallel()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: noon.Add(-time.Hour)} // its dates are ignored
	certificate := must(x509.CreateCertificate(rand.Reader, template, template, rsaKey().Public(), rsaKey()))
	pkcs1 := x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)
	for name, path := range map[string]string{
		"certificate":          pemFile(t, pem.Block{Type: "CERTIFICATE", Bytes: certificate}),
		"PKCS #1":              pemFile(t, pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}),
		"text before the PEM":  textFile(t, "Key of the issuer\n\n"+string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}))),
		"Windows line endings": textFile(t, strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})), "\n", "\r\n")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantAccepted(t, newVerifier(t, Config{PublicKeyFiles: []string{path}}), signedWith("RS256", rsaKey(), nil, claims()), "alice")
		})
	}
}

func TestSecretIsCopied(t *testing.T) {
	t.Parallel()
	own := slices.Clone(secret)
	v := newVerifier(t, Config{Secret: own})
	clear(own)
	wantAccepted(t, v, signed(nil, claims()), "alice")
}

func TestPrincipalInLog(t *testing.T) {
	t.Parallel()
	p := Principal{UserID: "alice", Role: "admin", ExpiresAt: noon}
	if got, want := fmt.Sprint(p.LogValue()), "[user_id=alice role=admin]"; got != want {
		t.Errorf("log value: got %s, want %s", got, want)
	}
}
