package logs

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

const signature = "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"

func tokenOf(header string) string {
	return b64(header) + "." + b64(`{"sub":"alice","exp":1}`) + "." + signature
}

// Once, a token whose header begins with a space, and so not with eyJ, was logged
// whole.
func TestRedact(t *testing.T) {
	t.Parallel()
	headers := []string{`{"alg":"HS256","typ":"JWT"}`, `{ "alg":"HS256"}`, `{  "alg" : "HS256" }`, "{\n  \"alg\": \"HS256\"\n}", "{\r\n\t\"alg\":\"HS256\"}",
		"{\t\"alg\":\"HS256\"}", ` {"alg":"HS256"}`, "\n{\"alg\":\"HS256\"}", "\t\t{ \"alg\":\"HS256\"}", "\r\n\r\n{\"alg\":\"HS256\"}", "\ufeff{\"alg\":\"HS256\"}", `{"":1,"alg":"none"}`, `{"\u0061lg":"HS256"}`, `{"kid":"a/b?c>d","alg":"RS256"}`,
		`{` + strings.Repeat(" ", 100) + `"alg":"HS256"}`, "no JSON at all, but long enough"}
	for _, header := range headers {
		token := tokenOf(header)
		encrypted := b64(header) + ".." + "48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_A." + "XFBoMYUZodetZdvTiFvSkQ"
		padded := base64.URLEncoding.EncodeToString([]byte(header+" ")) + "." + b64(`{}`) + "." + signature + "="
		standard := base64.StdEncoding.EncodeToString([]byte(header)) + "." + b64(`{"a":1}`) + "." + signature
		for name, form := range map[string]string{
			"a token": token, "an encrypted one": encrypted, "a padded one": padded, "standard base64": standard,
			"escaped":           percent(token),
			"escaped twice":     url.QueryEscape(percent(token)),
			"escaped dots":      strings.ReplaceAll(token, ".", "%2E"),
			"one byte escaped":  "%" + strings.ToUpper(hexOf(token[0])) + token[1:],
			"cut off":           token[:len(token)-30],
			"with more parts":   token + ".more.parts",
			"glued to a slash":  "x/" + token,
			"beside an equal":   "token=" + token,
			"within parameters": url.Values{"a": {"1"}, "t": {token}}.Encode(),
		} {
			if (name == "an encrypted one" || name == "a padded one") && !strings.HasPrefix(strings.TrimLeft(header, "\ufeff \n\t\r"), "{") {
				continue // nothing of it has a form
			}
			for _, around := range []string{"%s", "GET /ws/alice?token=%s HTTP/1.1", `bad "%s" here`, "/nothing/%s/events", "https://a.example/#access_token=%s&x=1", "Bearer %s", "<%s>", "ü%sü", "a, %s, b"} {
				text := strings.ReplaceAll(around, "%s", form)
				got := Redact(text)
				for _, part := range []string{signature[:30], b64(`{"sub":"alice","exp":1}`)[:20], "5eym8TW_c8SuK0ltJ3", percent(signature[:30])} {
					if strings.Contains(got, part) {
						t.Fatalf("%s of header %q in %q: %q still holds it", name, header, around, got)
					}
				}
				if !strings.Contains(got, Redacted) || !HasToken(text) || HasToken(got) {
					t.Errorf("%s of header %q in %q: got %q, want %s in it", name, header, around, got, Redacted)
				}
			}
		}
	}
}

// Text without a token is logged unchanged: ids, host names, times and words.
func TestRedactLeavesTextAlone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", "/v1/tasks?limit=50&sort=-created", "task-0198f7a2-5c7e-7bb1-9d0c-1b7a2f3c4d5e", "feed.eu-central-1.example.com:8443", "10.0.0.1:51234",
		"2026-11-22T10:00:00.123456Z", "journeyId=7", "moneyInvested/surveyItems", "they Aim", "read events after 4711: context deadline exceeded", "100%", "%", "%zz", "a%2Fb%20c",
		"01ARZ3NDEKTSV4RRFFQ69G5FAV", "org.example.application.jobs.ExportJobWithALongName", "dGhlIHNhbXBsZSBub25jZQ==", "e", "eyes", "ICDICD", "7777777",
		"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "zoë 用户 \u202e"} {
		if got := Redact(text); got != text {
			t.Errorf("%q: got %q, want it as it is", text, got)
		}
	}
}

func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + hexOf(s[i]))
	}
	return b.String()
}

func hexOf(c byte) string { return string("0123456789abcdef"[c>>4]) + string("0123456789abcdef"[c&15]) }

// FuzzRedact checks that with any header, and any text around the token, no part of the
// claims or the signature remains.
func FuzzRedact(f *testing.F) {
	f.Fuzz(func(t *testing.T, before, name, after string) {
		token := tokenOf(`{"` + strings.Trim(name, `\"`) + `": 1, "alg":"HS256"}`)
		got := Redact(before + "&" + token + "&" + after)
		if strings.Contains(got, signature) && !strings.Contains(before+after, signature) {
			t.Fatalf("%q holds the signature", got)
		}
		if again := Redact(got); again != got {
			t.Fatalf("%q becomes %q when it is redacted again", got, again)
		}
	})
}

// TestRedactTakesNoTime: no text that the server logs can keep it busy. Once, each of
// these took time that grew with the square of its length, or faster.
func TestRedactTakesNoTime(t *testing.T) {
	t.Parallel()
	const length = 1 << 18
	for _, piece := range []string{"%25", "%", "ew0K", "e", "ICAg", "eyAg", "a.", "aaaaaaaaaaaaaaaaaaaa.", "%65", "=e", "/ew0K"} {
		text := strings.Repeat(piece, length/len(piece))
		ended := make(chan struct{})
		go func() { Redact(text); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Errorf("%q repeated: not done after 20 s", piece)
		}
	}
}
