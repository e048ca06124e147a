package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

const (
	minRSABits      = 2048
	maxRSABits      = 16384 // beyond, one signature costs seconds
	maxKeyFileBytes = 64 << 10
)

// The algorithms, by the kind of key that they need.
var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	rsaAlgorithms    = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	publicAlgorithms = slices.Concat(rsaAlgorithms, []string{"ES256", "ES384", "ES512", algEdDSA})
	allAlgorithms    = slices.Concat(secretAlgorithms, publicAlgorithms)
)

// fullySpecified is what RFC 9864 names EdDSA with Ed25519 keys, which are the only
// ones here: one algorithm with two names. It has no other new ones for JOSE;
// those for ECDSA (ESP256 and the like) are of COSE, and JOSE's always named
// their curve.
const (
	algEdDSA       = "EdDSA"
	fullySpecified = "Ed25519"
)

// knowFullySpecified has the parser know the newer name.
var knowFullySpecified = sync.OnceFunc(func() {
	jwt.RegisterSigningMethod(fullySpecified, func() jwt.SigningMethod { return jwt.SigningMethodEdDSA })
})

// oneName returns the name by which we go for an algorithm.
func oneName(algorithm string) string {
	if algorithm == fullySpecified {
		return algEdDSA
	}
	return algorithm
}

// key is something that can check signatures.
type key struct {
	id         string // the kid in a key set, else empty
	algorithms []string
	material   any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// fitting returns the keys that can serve the algorithm.
func fitting(keys []key, algorithm string) (fit []key) {
	for _, k := range keys {
		if slices.Contains(k.algorithms, algorithm) {
			fit = append(fit, k)
		}
	}
	return fit
}

func verificationKeys(keys []key) (set jwt.VerificationKeySet) {
	for _, k := range keys {
		set.Keys = append(set.Keys, k.material)
	}
	return set
}

// publicKey returns the key with the algorithms that its kind can serve.
func publicKey(material any) (key, error) {
	algorithms, err := algorithmsOf(material)
	return key{algorithms: algorithms, material: material}, err
}

func algorithmsOf(material any) ([]string, error) {
	switch material := material.(type) {
	case *rsa.PublicKey:
		if bits := material.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return nil, fmt.Errorf("an RSA key of %d bits, not of %d to %d", bits, minRSABits, maxRSABits)
		}
		return rsaAlgorithms, nil
	case *ecdsa.PublicKey:
		switch material.Curve {
		case elliptic.P256():
			return []string{"ES256"}, nil
		case elliptic.P384():
			return []string{"ES384"}, nil
		case elliptic.P521():
			return []string{"ES512"}, nil
		}
	case ed25519.PublicKey:
		return []string{algEdDSA}, nil
	}
	return nil, errors.New("a key of a kind that signs no tokens; RSA, ECDSA (P-256, P-384, P-521) and Ed25519 keys do")
}

// staticKeys returns the shared secret and the keys of the files.
func (c Config) staticKeys() ([]key, error) {
	var keys []key
	if len(c.Secret) > 0 {
		keys = append(keys, key{algorithms: secretAlgorithms, material: c.Secret})
	}
	var errs []error
	for _, path := range c.PublicKeyFiles {
		k, err := readPublicKey(path)
		if err != nil {
			errs = append(errs, fmt.Errorf("TASKFEED_JWT_PUBLIC_KEY_FILE: %w", err))
		}
		keys = append(keys, k)
	}
	return keys, errors.Join(errs...)
}

// readPublicKey reads a file with one public key or certificate. Of several
// certificates all but the first would be those of authorities, whose keys must
// not be taken for the issuer's; so a file with more is refused.
func readPublicKey(path string) (key, error) {
	if strings.Contains(path, "-----BEGIN") || strings.ContainsAny(path, "\r\n") {
		return key{}, errors.New("this is not the path of a file; put the public key into a file and name that (never a private key)")
	}
	text, err := readSmallFile(path)
	if err != nil {
		return key{}, err
	}
	block, err := onlyBlock(text)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", path, err)
	}
	material, err := parseBlock(block)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", path, err)
	}
	k, err := publicKey(material)
	if err != nil {
		return key{}, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

func readSmallFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKeyFileBytes+1))
	if err == nil && len(text) > maxKeyFileBytes {
		err = fmt.Errorf("%s: more than %d bytes, too many for a public key", path, maxKeyFileBytes)
	}
	return text, err
}

// onlyBlock returns the one PEM block of the text.
func onlyBlock(text []byte) (only *pem.Block, err error) {
	count := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("a private key has no place on this server; replace it by its public key: " +
				"openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem")
		}
		only = block
		count++
	}
	if count != 1 {
		return nil, fmt.Errorf("%d PEM blocks, not one; give each public key or certificate a file of its own", count)
	}
	return only, nil
}

func parseBlock(block *pem.Block) (any, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	return nil, fmt.Errorf("a PEM block of type %q, not PUBLIC KEY or CERTIFICATE", block.Type)
}
