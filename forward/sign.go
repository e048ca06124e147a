package forward

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// Secret is a key that signs what is sent. It does not show in logs.
type Secret struct{ key []byte }

// String implements fmt.Stringer.
func (Secret) String() string { return "REDACTED" }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return "REDACTED" }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// The bounds of a key, in bytes, as Standard Webhooks has them.
const (
	minKey = 24
	maxKey = 64
)

// ParseSecrets parses secrets of the form whsec_BASE64, separated by commas or blanks.
// Its error repeats nothing of them.
func ParseSecrets(text string) ([]Secret, error) {
	var all []Secret
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' || r == '\t' }) {
		encoded, ok := strings.CutPrefix(word, "whsec_")
		key, err := base64.StdEncoding.DecodeString(encoded)
		if !ok || err != nil || len(key) < minKey || len(key) > maxKey {
			return nil, errors.New(`must be "whsec_" and 24 to 64 random bytes in base64, for example of: echo whsec_$(openssl rand -base64 32); several are separated by commas`)
		}
		all = append(all, Secret{key})
	}
	return all, nil
}

// sign returns the header webhook-signature: a signature by each secret.
func sign(secrets []Secret, id string, at time.Time, body []byte) string {
	signatures := make([]string, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha256.New, secret.key)
		mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	return strings.Join(signatures, " ")
}
