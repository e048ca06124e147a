package natsrelay

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// explain says what to do about an error. It never names a password.
func (c Config) explain(err error) string {
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		if ends, ok := expiry(c.CredentialsFile); ok && ends.Before(time.Now()) {
			return "the credentials of the engine's user have expired at " + ends.UTC().Format(time.RFC3339) + ": put new ones into their file; it is read again"
		}
		return "the engine refuses the user or the password: check both, or the file of credentials"
	case errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAccountAuthExpired):
		return "the credentials of the engine's user have expired: put new ones into their file; it is read again"
	case errors.Is(err, nats.ErrAuthRevoked):
		return "the credentials of the engine's user were revoked: put new ones into their file; it is read again"
	case errors.Is(err, nats.ErrPermissionViolation):
		return "the engine's user lacks a permission: " + err.Error() + "; see the permissions of cores and gateways in docs/SCALING.md"
	case errors.Is(err, nats.ErrNoServers):
		return "no server of its URLs can be reached: check that it runs and that a firewall lets this server through"
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return "a file for the engine cannot be read: check its path and its permissions: " + err.Error()
	}
	if _, ok := errors.AsType[*url.Error](err); ok { // it has the whole URL
		return "a URL of the engine is malformed"
	}
	if why := explainTLS(err); why != "" {
		return why + ": " + err.Error()
	}
	return err.Error()
}

// explainTLS returns "" for an error that is none of TLS.
func explainTLS(err error) string {
	if errors.Is(err, nats.ErrSecureConnWanted) {
		return "the engine does not encrypt, and this server would: give the engine a certificate, or use nats:// without files of certificates"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the engine's certificate is signed by an authority that is not known here: name the file with the authority's certificate"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "the engine's certificate is for other names than the one in the URL: use one of these names, or another certificate"
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return "the engine's certificate is not valid now: renew it, or set the clock"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the engine's certificate is refused"
	}
	if strings.Contains(err.Error(), "remote error: tls:") {
		return "the engine refuses this server's certificate, or wants one: check the files of the certificate and its key"
	}
	return ""
}
