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
	maxRSABits      = 16384 // checking a signature of a longer key takes seconds
	maxKeyFileBytes = 64 << 10
)

// The algorithms, by the kind of key that they need.
var (
	secretAlgorithms = []string{"HS256", "HS384", "HS512"}
	rsaAlgorithms    = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	publicAlgorithms = slices.Concat(rsaAlgorithms, []string{"ES256", "ES384", "ES512", algEdDSA})
	allAlgorithms    = slices.Concat(secretAlgorithms, publicAlgorithms)
)

// RFC 9864 renames EdDSA with Ed25519 keys, the only EdDSA keys here, to Ed25519: one
// algorithm with two names. It renames no other JOSE algorithm that is supported
// here.
const (
	algEdDSA   = "EdDSA"
	algEd25519 = "Ed25519"
)

// registerEd25519 makes the parser accept the newer name.
var registerEd25519 = sync.OnceFunc(func() {
	jwt.RegisterSigningMethod(algEd25519, func() jwt.SigningMethod { return jwt.SigningMethodEdDSA })
})

// canonicalName returns the one name that is used here for an algorithm.
func canonicalName(algorithm string) string {
	if algorithm == algEd25519 {
		return algEdDSA
	}
	return algorithm
}

// key checks signatures.
type key struct {
	id         string // the kid in a key set, else empty
	algorithms []string
	material   any // []byte, *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// supporting returns the keys that support the algorithm.
func supporting(keys []key, algorithm string) (fit []key) {
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

// publicKey returns a key with the algorithms that its kind supports.
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
	return nil, errors.New("this kind of key cannot sign tokens; RSA, ECDSA (P-256, P-384, P-521) and Ed25519 keys can")
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
			errs = append(errs, fieldError("PublicKeyFiles", "%v", err))
		}
		keys = append(keys, k)
	}
	return keys, errors.Join(errs...)
}

// readPublicKey reads a file with one public key or certificate. A file with several
// is refused: all certificates but the first would be those of authorities, whose
// keys are not the issuer's.
func readPublicKey(path string) (key, error) {
	if strings.Contains(path, "-----BEGIN") || strings.ContainsAny(path, "\r\n") {
		return key{}, errors.New("this is not the path of a file; put the public key (never a private one) into a file and give its path")
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

// onlyBlock returns the only PEM block of the text.
func onlyBlock(text []byte) (only *pem.Block, err error) {
	count := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, errors.New("this is a private key, which does not belong on this server; replace it by its public key: " +
				"openssl pkey -in PRIVATE.pem -pubout -out PUBLIC.pem")
		}
		only = block
		count++
	}
	if count != 1 {
		return nil, fmt.Errorf("%d PEM blocks instead of one; put each public key or certificate into a file of its own", count)
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
