package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/taskfeed/taskfeed/relay/natsrelay"
)

// engineSettings are the settings of cores and gateways for what connects them.
func (c *config) engineSettings() []*setting {
	e := &c.relay.Engine
	return []*setting{
		{"TASKFEED_ENGINE_URL", "NATS servers over which gateways get the log, separated by commas, the nearest first: nats://a:4222,tls://b:4222; without, there are no gateways", "", engineURL(&e.URLs)},
		{"TASKFEED_ENGINE_USER", "user of NATS", "", text(&e.User)},
		{"TASKFEED_ENGINE_PASSWORD", "password of that user", "", text(&e.Password)},
		{"TASKFEED_ENGINE_CREDENTIALS_FILE", "path of a file with credentials of NATS, in place of user and password", "", text(&e.CredentialsFile)},
		{"TASKFEED_ENGINE_CA_FILE", "path of a file with the certificates that sign those of NATS (default: the system's)", "", text(&e.CAFile)},
		{"TASKFEED_ENGINE_CERT_FILE", "path of a file with the certificate to show to NATS", "", text(&e.CertFile)},
		{"TASKFEED_ENGINE_KEY_FILE", "path of a file with its key", "", text(&e.KeyFile)},
		{"TASKFEED_ENGINE_PREFIX", "first word of all subjects on NATS; each deployment has its own", "taskfeed", subject(&c.relay.Prefix)},
	}
}

// compressionSettings are those of a core alone: a gateway reads both.
func (c *config) compressionSettings() []*setting {
	return []*setting{{"TASKFEED_ENGINE_COMPRESSION", "s2, or off: how messages to gateways are compressed", "s2", func(s string) error {
		var how string
		err := choice(&how, "s2", "off")(s)
		c.relay.Uncompressed = how == "off"
		return err
	}}}
}

// checkEngine refuses settings of the engine that contradict each other.
func (c *config) checkEngine() error {
	e := &c.relay.Engine
	var errs []error
	if e.CredentialsFile != "" && (e.User != "" || e.Password != "") {
		errs = append(errs, errors.New("TASKFEED_ENGINE_CREDENTIALS_FILE: set it, or user and password, not both"))
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		errs = append(errs, errors.New("TASKFEED_ENGINE_CERT_FILE: it needs TASKFEED_ENGINE_KEY_FILE, and that needs it"))
	}
	return errors.Join(errors.Join(errs...), checkEngineFiles(e))
}

// checkEngineFiles refuses files that cannot be what they should be.
func checkEngineFiles(e *natsrelay.Config) error {
	var errs []error
	if e.CredentialsFile != "" {
		if err := natsrelay.CheckCredentials(e.CredentialsFile); err != nil {
			errs = append(errs, fmt.Errorf("TASKFEED_ENGINE_CREDENTIALS_FILE: %w", err))
		}
	}
	if e.CAFile != "" {
		switch content, err := os.ReadFile(e.CAFile); {
		case err != nil:
			errs = append(errs, errors.New("TASKFEED_ENGINE_CA_FILE: the file cannot be read: check its path and its permissions"))
		case !x509.NewCertPool().AppendCertsFromPEM(content):
			errs = append(errs, errors.New("TASKFEED_ENGINE_CA_FILE: the file has no certificates in PEM"))
		}
	}
	if e.CertFile != "" && e.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile); err != nil { // the error may have a part of the key
			errs = append(errs, errors.New("TASKFEED_ENGINE_CERT_FILE: it and TASKFEED_ENGINE_KEY_FILE must be readable files with a certificate and its key in PEM"))
		}
	}
	return errors.Join(errs...)
}

// engineSecret reports whether a URL of NATS names a user or a token.
func engineSecret(urls string) bool { return strings.Contains(urls, "@") }

func engineURL(into *string) func(string) error {
	return func(s string) error {
		*into = s
		return natsrelay.Check(s)
	}
}

var subjectWord = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func subject(into *string) func(string) error {
	return func(s string) error {
		if !subjectWord.MatchString(s) {
			return errors.New("must be 1 to 64 letters, digits, _ or -")
		}
		*into = s
		return nil
	}
}
