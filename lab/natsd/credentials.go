package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

// issuer signs users of an account.
type issuer struct {
	account nkeys.KeyPair
	dir     string
}

// credentials writes into a directory what a server needs to trust an account
// (users.conf) and credentials of a user (valid.creds); and the seed of a key alone
// (key.nk), whose public part is in key.conf. With a duration it writes instead
// brief.creds, for the same account.
func credentials(dir string, after []string) error {
	if len(after) > 0 {
		d, err := time.ParseDuration(after[0])
		if err != nil {
			return err
		}
		seed, err := os.ReadFile(filepath.Join(dir, "account.nk"))
		if err != nil {
			return err
		}
		account, err := nkeys.FromSeed(seed)
		if err != nil {
			return err
		}
		return issuer{account, dir}.user("brief.creds", time.Now().Add(d).Unix())
	}
	operator, err := nkeys.CreateOperator()
	if err != nil {
		return err
	}
	account, err := nkeys.CreateAccount()
	if err != nil {
		return err
	}
	seed, err := account.Seed()
	if err != nil {
		return err
	}
	i := issuer{account, dir}
	return errors.Join(i.write("account.nk", string(seed)), i.trust(operator), i.user("valid.creds", 0), i.key())
}

// trust writes the server's configuration.
func (i issuer) trust(operator nkeys.KeyPair) error {
	by, err := operator.PublicKey()
	if err != nil {
		return err
	}
	of, err := i.account.PublicKey()
	if err != nil {
		return err
	}
	signed, err := jwt.NewOperatorClaims(by).Encode(operator)
	if err != nil {
		return err
	}
	account, err := jwt.NewAccountClaims(of).Encode(operator)
	if err != nil {
		return err
	}
	return i.write("users.conf", fmt.Sprintf("operator: %q\nresolver: MEMORY\nresolver_preload: { %s: %q }\n", signed, of, account))
}

func (i issuer) user(name string, expires int64) error {
	key, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	public, err := key.PublicKey()
	if err != nil {
		return err
	}
	seed, err := key.Seed()
	if err != nil {
		return err
	}
	claims := jwt.NewUserClaims(public)
	claims.Expires = expires
	signed, err := claims.Encode(i.account)
	if err != nil {
		return err
	}
	text, err := jwt.FormatUserConfig(signed, seed)
	if err != nil {
		return err
	}
	return i.write(name, string(text))
}

func (i issuer) key() error {
	key, err := nkeys.CreateUser()
	if err != nil {
		return err
	}
	public, err := key.PublicKey()
	if err != nil {
		return err
	}
	seed, err := key.Seed()
	if err != nil {
		return err
	}
	if err := i.write("key.conf", fmt.Sprintf("authorization { users: [ { nkey: %s } ] }\n", public)); err != nil {
		return err
	}
	return i.write("key.nk", string(seed)+"\n")
}

func (i issuer) write(name, text string) error {
	return os.WriteFile(filepath.Join(i.dir, name), []byte(text), 0o600)
}
