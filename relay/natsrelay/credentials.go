package natsrelay

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"time"

	"github.com/nats-io/nats.go"
)

var (
	token = regexp.MustCompile(`-----BEGIN NATS USER JWT-----\s+[\w-]+\.([\w-]+)\.[\w-]+`)
	seed  = regexp.MustCompile(`(?m)^SU[A-Z2-7]{56}\s*$`) // of a user's key
)

// CheckCredentials returns an error when a file has no credentials of a NATS user.
func CheckCredentials(file string) error {
	content, err := os.ReadFile(file)
	defer clear(content)
	switch {
	case err != nil:
		return errors.New("the file cannot be read: check its path and its permissions")
	case !seed.Match(content):
		return errors.New("the file has no credentials of a NATS user: it must be a .creds file with a JWT and its seed, or have a seed that begins with SU")
	}
	return nil
}

// signIn proves who this server is, by the user's JWT and its key, or by a key alone.
func signIn(file string) nats.Option {
	return func(o *nats.Options) error {
		content, err := os.ReadFile(file)
		defer clear(content)
		if err != nil {
			return err
		}
		if token.Match(content) {
			return nats.UserCredentials(file)(o)
		}
		key, err := nats.NkeyOptionFromSeed(file)
		if err != nil {
			return err
		}
		return key(o)
	}
}

// expiry returns when the JWT of a file of credentials expires.
func expiry(file string) (at time.Time, ok bool) {
	content, err := os.ReadFile(file)
	defer clear(content)
	m := token.FindSubmatch(content)
	if err != nil || m == nil {
		return at, false
	}
	var claims struct{ Exp int64 }
	decoder := json.NewDecoder(base64.NewDecoder(base64.RawURLEncoding, bytes.NewReader(m[1])))
	if decoder.Decode(&claims) != nil || claims.Exp == 0 {
		return at, false
	}
	return time.Unix(claims.Exp, 0), true
}
