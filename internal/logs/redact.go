package logs

import (
	"encoding/base64"
	"strings"
)

// Redacted replaces a token.
const Redacted = "REDACTED"

// Redact replaces everything in a text that has the form of a token: a JSON object in
// base64, as in the header and claims of every JWT and the header of every JWE, with
// everything attached to it; and three or more long parts between dots, whatever they
// contain. A token is also found when it is truncated, percent-encoded (even several
// times) or joined to other text.
func Redact(s string) string {
	return redactEscaped(s, maxRounds)
}

// maxRounds is how many times a token may be percent-encoded and still be found.
const maxRounds = 4

func redactEscaped(s string, rounds int) string {
	var b strings.Builder
	done := 0
	for i := 0; i < len(s); {
		if !mayBeToken(s[i]) {
			i++
			continue
		}
		from := i
		for i < len(s) && mayBeToken(s[i]) {
			i++
		}
		if at := tokenIn(s[from:i], rounds); at >= 0 {
			b.WriteString(s[done : from+at])
			b.WriteString(Redacted)
			done = i
		}
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// HasToken reports whether Redact would remove anything.
func HasToken(s string) bool { return Redact(s) != s }

// mayBeToken reports whether the byte can be part of a token: base64 of either
// alphabet, dots, padding, or percent-encoding.
func mayBeToken(c byte) bool {
	return isBase64(c) || c == '.' || c == '=' || c == '+' || c == '/' || c == '%'
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// tokenIn returns the index of the token in a run of such bytes, or -1.
func tokenIn(run string, rounds int) int {
	if rounds > 0 && strings.Contains(run, "%") {
		if plain := unescape(run); plain != run && redactEscaped(plain, rounds-1) != plain {
			return 0
		}
	}
	for i := range len(run) {
		first := i == 0 || !isBase64(run[i-1])
		if beginsObject(run[i:], first) || first && threeParts(run[i:]) {
			return i
		}
	}
	return -1
}

// unescape decodes one round of percent-encoding.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hex(s[i+1]) >= 0 && hex(s[i+2]) >= 0 {
			b.WriteByte(byte(hex(s[i+1])<<4 | hex(s[i+2])))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// blanks may come before and after the brace of a JSON object. Some encoders begin with
// a byte order mark.
const blanks = " \t\r\n"

// maxGroups bounds how many groups of four characters beginsObject reads to find the
// first name of an object.
const maxGroups = 64

// beginsObject reports whether s begins with the base64 of a JSON object with at least
// one name. first means that s is the beginning of a part. Inside a part, where the
// characters may be there by chance, the name must begin with a letter.
func beginsObject(s string, first bool) bool {
	if len(s) < 4 || s[0] != 'e' && !(first && strings.IndexByte("ICD7", s[0]) >= 0) {
		return false // neither a brace nor what may come before one
	}
	braced := false
	for group := 0; group < maxGroups && len(s) >= 4; group, s = group+1, s[4:] {
		text, ok := decode(s[:4])
		if !ok {
			return false
		}
		for i, c := range text {
			switch {
			case strings.IndexByte(blanks, c) >= 0 || !braced && group == 0 && strings.IndexByte("\xef\xbb\xbf", c) >= 0:
			case c == '{' && !braced:
				braced = true
			case c == '"' && braced:
				return first || i+1 == len(text) || text[i+1] >= '@'
			default:
				return false
			}
		}
	}
	return false
}

// decode decodes four characters of base64 in either alphabet.
func decode(group string) (text [3]byte, ok bool) {
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(group, "+/") {
		encoding = base64.RawStdEncoding
	}
	n, err := encoding.Decode(text[:], []byte(group))
	return text, err == nil && n == len(text)
}

// The least lengths of the parts of a token that is not recognised by its header. The
// last part is a signature or a ciphertext.
const (
	minPart     = 16
	minLastPart = 40
	maxParts    = 5 // an encrypted token's
)

// threeParts reports whether s begins with three long parts between dots.
func threeParts(s string) bool {
	parts := 0
	for rest := s; ; {
		n := 0
		for n < len(rest) && isBase64(rest[n]) {
			n++
		}
		if parts++; n < minPart {
			return false
		}
		if parts >= 3 && n >= minLastPart {
			return true
		}
		if parts == maxParts || n == len(rest) || rest[n] != '.' {
			return false
		}
		rest = rest[n+1:]
	}
}
