package devpg

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// VersionError means that the data belongs to another major version of Postgres than
// the binaries.
type VersionError struct {
	Dir    string // the state directory
	Data   int    // major version of the data
	Binary int    // major version of the binaries
	BinDir string
}

// Error names both versions and what to do.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the data in %s belongs to PostgreSQL %d, but %s is PostgreSQL %d; set TASKFEED_PG_BIN to the binaries of version %d, or delete the data with --reset",
		e.Dir, e.Data, e.BinDir, e.Binary, e.Data)
}

// prepareData creates the data directory unless there is one of the right version. It
// returns the superuser's password.
func (s *Server) prepareData(ctx context.Context) (password string, err error) {
	raw, err := os.ReadFile(filepath.Join(s.dir.data(), "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		return s.initdb(ctx)
	}
	if err != nil {
		return "", err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return "", fmt.Errorf("%s/PG_VERSION is not a version: %w; delete the data with --reset", s.dir.data(), err)
	}
	if major != s.bin.major {
		return "", &VersionError{Dir: s.dir.path, Data: major, Binary: s.bin.major, BinDir: s.bin.dir}
	}
	raw, err = os.ReadFile(s.passwordFile())
	if err != nil {
		return "", fmt.Errorf("read the password of the private Postgres: %w; delete the data with --reset", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

func (s *Server) passwordFile() string { return filepath.Join(s.dir.path, passwordName) }

// initdb makes a new cluster and its password. It works in a directory beside the
// data directory and renames that when it is complete. What an interrupted run left
// there is removed.
func (s *Server) initdb(ctx context.Context) (password string, err error) {
	if _, err := os.Lstat(s.dir.data()); err == nil {
		return "", fmt.Errorf("%s exists but has no file PG_VERSION; move it away, or delete it with --reset", s.dir.data())
	}
	fresh := s.dir.data() + newSuffix
	if err := removeAll(fresh); err != nil {
		return "", err
	}
	if err := s.account.mkdir(fresh); err != nil {
		return "", err
	}
	password = rand.Text()
	verifier, err := scramVerifier(password)
	if err != nil {
		return "", err
	}
	if err := s.writePasswordFile(verifier); err != nil { // Postgres takes a verifier in place of a password
		return "", err
	}
	args := []string{"--pgdata=" + fresh, "--username=" + superuser, "--pwfile=" + s.passwordFile(),
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--lc-ctype=" + utf8Locale(), "--no-instructions"}
	if s.settings()["fsync"] == "off" {
		args = append(args, "--no-sync")
	}
	cmd := s.account.command(fresh, filepath.Join(s.bin.dir, "initdb"), args...)
	if out, err := runToEnd(ctx, cmd); err != nil {
		return "", fmt.Errorf("initdb of PostgreSQL %s: %w\n%s", s.bin.version, s.account.explain(err, fresh), out)
	}
	if err := s.writePasswordFile(password); err != nil {
		return "", err
	}
	return password, os.Rename(fresh, s.dir.data())
}

func (s *Server) writePasswordFile(line string) error {
	if err := replaceFile(s.passwordFile(), []byte(line+"\n")); err != nil {
		return err
	}
	return s.account.own(s.passwordFile())
}

// scramVerifier returns what Postgres stores of a password (pg_authid.rolpassword,
// RFC 5803), with one iteration in place of 4,096. Iterations slow down guessing,
// which 130 random bits do not need, and each connection computes them.
func scramVerifier(password string) (string, error) {
	salt := []byte(rand.Text())
	const iterations = 1
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	sign := func(text string) []byte {
		mac := hmac.New(sha256.New, salted)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}
	storedKey := sha256.Sum256(sign("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(storedKey[:]), encode(sign("Server Key"))), nil
}
