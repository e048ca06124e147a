package cli

import (
	"errors"
	"strings"
	"testing"
)

// The errors of libraries are shown too, and may repeat secrets.
func TestErrorsAreShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	const secret = "S3cret"
	for _, text := range []string{
		"cannot reach postgres://u:" + secret + "@h:1/db?sslmode=disable: refused", `parse "postgres://u:a@` + secret + `@h/db": no`, "https://" + secret + "@h", "postgresql://u:a/" + secret + "#?@h",
		"host=h password=" + secret + " user=u", "password='a " + secret + `\' b' x`, "PASSWORD = " + secret, "url?sslpassword=" + secret + "&x=1", "TASKFEED_JWT_SECRET=" + secret,
	} {
		if got := plain(errors.New(text)); strings.Contains(got, secret) || !strings.Contains(got, "REDACTED") {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
	for _, text := range []string{"TASKFEED_JWT_SECRET: it is missing", "ask 127.0.0.1:80: connection refused", "see https://example.com/x and mail me@example.com", "the password is wrong"} {
		if got := plain(errors.New(text)); got != text {
			t.Errorf("%q is shown as %q, want it as it is", text, got)
		}
	}
}
