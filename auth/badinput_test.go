package auth

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/taskfeed/taskfeed"
)

// refusal is a token and the error that refuses it.
type refusal struct {
	name  string
	token string
	want  *taskfeed.Error
}

func runRefusals(t *testing.T, cfg Config, cases []refusal) {
	t.Helper()
	v := newVerifier(t, cfg)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, v, c.token, c.want)
		})
	}
}

func TestBadInput52NoSignature(t *testing.T) {
	t.Parallel()
	body, good := encode(`{"sub":"alice","exp":4102444800}`), signed(nil, claims())
	unsigned := func(header string) string { return encode(header) + "." + body + "." }
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims(claims())).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatalf("make a token without a signature: %v", err)
	}
	cases := []refusal{
		{"bad input 52: a token that a library made with none", none, errAlgorithm},
		{"bad input 52: empty signature", good[:strings.LastIndexByte(good, '.')+1], errUnknownKey},
		{"bad input 52: no signature part", good[:strings.LastIndexByte(good, '.')], errMalformed},
		{"bad input 52: cut signature", good[:len(good)-3], errUnknownKey},
		{"bad input 52: no alg", unsigned(`{"typ":"JWT"}`), errAlgorithm},
		{"bad input 52: alg is null", unsigned(`{"alg":null}`), errAlgorithm},
		{"bad input 52: alg is a number", unsigned(`{"alg":256}`), errAlgorithm},
		{"bad input 52: alg is an array", unsigned(`{"alg":["none","HS256"]}`), errAlgorithm},
		{"bad input 52: header is null", unsigned(`null`), errAlgorithm},
		{"bad input 52: alg twice, none last", unsigned(`{"alg":"HS256","alg":"none"}`), errAlgorithm},
		{"bad input 52: alg hs256 in lower case", signed(object{"alg": "hs256"}, claims()), errAlgorithm},
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", " none", "none ", "", "none\x00"} {
		header := string(must(json.Marshal(object{"alg": alg})))
		cases = append(cases, refusal{fmt.Sprintf("bad input 52: alg none in any case: %q", alg), unsigned(header), errAlgorithm})
	}
	runRefusals(t, Config{Secret: secret}, cases)
}

func TestBadInput53KeyConfusion(t *testing.T) {
	t.Parallel()
	rsaFile := publicPEM(t, rsaKey())
	publicText, err := os.ReadFile(rsaFile)
	if err != nil {
		t.Fatalf("read the public key: %v", err)
	}
	block, _ := pem.Decode(publicText)
	cases := []refusal{
		{"bad input 53: RS256 key as PEM used as HS256 secret", signedWith("HS256", publicText, nil, claims()), errAlgorithm},
		{"bad input 53: RS256 key as DER used as HS256 secret", signedWith("HS256", block.Bytes, nil, claims()), errAlgorithm},
		{"bad input 53: RS256 key used as HS512 secret", signedWith("HS512", publicText, nil, claims()), errAlgorithm},
		{"bad input 53: ES256 token to RS key", signedWith("ES256", ecKey(), nil, claims()), errAlgorithm},
		{"bad input 53: EdDSA token to RS key", signedWith("EdDSA", edKey(), nil, claims()), errAlgorithm},
		{"bad input 53: PS256 signature called RS256", signedWith("PS256", rsaKey(), object{"alg": "RS256"}, claims()), errUnknownKey},
		{"bad input 53: RS256 signature called RS512", signedWith("RS256", rsaKey(), object{"alg": "RS512"}, claims()), errUnknownKey},
		{"bad input 53: HS256 signature called RS256", signedWith("HS256", publicText, object{"alg": "RS256"}, claims()), errUnknownKey},
	}
	runRefusals(t, Config{PublicKeyFiles: []string{rsaFile}}, cases)

	t.Run("bad input 53: RS256 key used as HS256 secret beside a real secret", func(t *testing.T) {
		t.Parallel()
		v := newVerifier(t, Config{Secret: secret, PublicKeyFiles: []string{rsaFile}})
		wantRefused(t, v, signedWith("HS256", publicText, nil, claims()), errUnknownKey)
		wantAccepted(t, v, signedWith("HS256", secret, nil, claims()), "alice")
		wantAccepted(t, v, signedWith("RS256", rsaKey(), nil, claims()), "alice")
	})
	t.Run("bad input 53: an algorithm that the configuration leaves out", func(t *testing.T) {
		t.Parallel()
		v := newVerifier(t, Config{PublicKeyFiles: []string{rsaFile}, Algorithms: []string{"PS384"}})
		wantRefused(t, v, signedWith("RS256", rsaKey(), nil, claims()), errAlgorithm)
		wantAccepted(t, v, signedWith("PS384", rsaKey(), nil, claims()), "alice")
	})
}

func TestBadInput54Encoding(t *testing.T) {
	t.Parallel()
	good := signed(nil, claims())
	header, rest, _ := strings.Cut(good, ".")
	body, signature, _ := strings.Cut(rest, ".")
	filled := func(size int) string { // a good token of just that size
		pad := size - len(signed(nil, claims(object{"pad": ""})))
		token := signed(nil, claims(object{"pad": strings.Repeat("x", pad*3/4)}))
		if len(token) != size {
			t.Fatalf("token: got %d bytes, want %d", len(token), size)
		}
		return token
	}
	cases := []refusal{
		{"bad input 54: empty", "", errMissing},
		{"bad input 54: 1 M dots", strings.Repeat(".", 1<<20), errTooLong},
		{"bad input 54: 1 MB token", header + "." + strings.Repeat("A", 1<<20) + "." + signature, errTooLong},
		{"bad input 54: one byte over 8 KiB", good + strings.Repeat("A", maxTokenBytes+1-len(good)), errTooLong},
		{"bad input 54: 8 KiB of dots", strings.Repeat(".", maxTokenBytes), errMalformed},
		{"bad input 54: one part", header, errMalformed},
		{"bad input 54: four parts", good + ".", errMalformed},
		{"bad input 54: five parts, as if encrypted", good + "..", errMalformed},
		{"bad input 54: padded header", header + "=." + rest, errMalformed},
		{"bad input 54: padded signature", good + "=", errMalformed},
		{"bad input 54: trailing bits", good[:len(good)-1] + nextLetter(good[len(good)-1]), errMalformed},
		{"bad input 54: standard alphabet", header + "." + body + "." + strings.Repeat("+/", 21) + "A", errMalformed},
		{"bad input 54: line break within", good[:10] + "\n" + good[10:], errMalformed},
		{"bad input 54: line break at the end", good + "\r\n", errMalformed},
		{"bad input 54: leading space", " " + good, errMalformed},
		{"bad input 54: with its scheme", "Bearer " + good, errMalformed},
		{"bad input 54: NUL", good + "\x00", errMalformed},
		{"bad input 54: header is no JSON", signedText("HS256", secret, `{"alg":"HS256"`, `{}`), errMalformed},
		{"bad input 54: header is an array", signedText("HS256", secret, `["HS256"]`, `{}`), errMalformed},
		{"bad input 54: claims are no JSON", signedText("HS256", secret, `{"alg":"HS256"}`, canary), errMalformed},
		{"bad input 54: claims are an array", signedText("HS256", secret, `{"alg":"HS256"}`, `["`+canary+`"]`), errMalformed},
		{"bad input 54: claims are followed by more", signedText("HS256", secret, `{"alg":"HS256"}`, `{"sub":"alice","exp":4102444800}{}`), errMalformed},
		{"bad input 54: deep claims", signedText("HS256", secret, `{"alg":"HS256"}`, strings.Repeat("[", 5000)), errMalformed},
		{"bad input 54: a changed claim", header + "." + encode(`{"sub":"bob","exp":4102444800}`) + "." + signature, errUnknownKey},
	}
	runRefusals(t, Config{Secret: secret}, cases)

	t.Run("bad input 54: just 8 KiB is accepted", func(t *testing.T) {
		t.Parallel()
		wantAccepted(t, newVerifier(t, Config{Secret: secret}), filled(maxTokenBytes), "alice")
	})
}

// nextLetter changes the unused bits of the last letter.
func nextLetter(letter byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return letters[strings.IndexByte(letters, letter)+1:][:1]
}

func TestBadInput55HeaderNamesAKey(t *testing.T) {
	t.Parallel()
	url := "https://127.0.0.1:1/" + canary
	cases := []refusal{
		{"bad input 55: jku", signed(object{"jku": url}, claims()), errHeader},
		{"bad input 55: x5u", signed(object{"x5u": url}, claims()), errHeader},
		{"bad input 55: jwk", signed(object{"jwk": object{"kty": "oct", "k": encode(string(secret))}}, claims()), errHeader},
		{"bad input 55: crit", signed(object{"crit": []string{"exp"}}, claims()), errHeader},
		{"bad input 55: crit is empty", signed(object{"crit": []string{}}, claims()), errHeader},
		{"bad input 55: jku is null", signedText("HS256", secret, `{"alg":"HS256","jku":null}`, `{}`), errHeader},
		{"bad input 55: kid is a number", signed(object{"kid": 7}, claims()), errKeyID},
		{"bad input 55: kid is null", signedText("HS256", secret, `{"alg":"HS256","kid":null}`, `{}`), errKeyID},
		{"bad input 55: kid is an object", signed(object{"kid": object{"a": canary}}, claims()), errKeyID},
		{"bad input 55: kid of 10 KB", signed(object{"kid": strings.Repeat("k", 10<<10)}, claims()), errTooLong},
	}
	runRefusals(t, Config{Secret: secret}, cases)
}

func TestBadInput56Expiry(t *testing.T) {
	t.Parallel()
	text := func(exp string) string {
		return signedText("HS256", secret, `{"alg":"HS256"}`, `{"sub":"alice","exp":`+exp+`}`)
	}
	runRefusals(t, Config{Secret: secret}, []refusal{
		{"bad input 56: exp missing", signed(nil, claims(object{"exp": nil})), errNoExpiry},
		{"bad input 56: exp in another case", signed(nil, claims(object{"exp": nil, "Exp": noon.Add(time.Hour).Unix()})), errNoExpiry},
		{"bad input 56: exp 0", text(`0`), errExpired},
		{"bad input 56: exp -0.0", text(`-0.0`), errExpired},
		{"bad input 56: exp negative", text(`-1`), errNoExpiry},
		{"bad input 56: exp null", text(`null`), errNoExpiry},
		{"bad input 56: exp string", text(`"4102444800"`), errNoExpiry},
		{"bad input 56: exp true", text(`true`), errNoExpiry},
		{"bad input 56: exp array", text(`[4102444800]`), errNoExpiry},
		{"bad input 56: exp 1e308", text(`1e308`), errNoExpiry},
		{"bad input 56: exp 1e400", text(`1e400`), errMalformed},
		{"bad input 56: exp beyond int64", text(`9223372036854775808`), errNoExpiry},
		{"bad input 56: exp in milliseconds", text(fmt.Sprint(noon.Add(time.Hour).UnixMilli())), errNoExpiry},
		{"bad input 56: exp past by a day", text(fmt.Sprint(noon.Add(-24 * time.Hour).Unix())), errExpired},
	})
}

// A token is valid until the last nanosecond before exp plus leeway.
func TestBadInput56ExpiryBoundary(t *testing.T) {
	t.Parallel()
	exp := noon.Add(time.Hour)
	for _, c := range []struct {
		name   string
		leeway time.Duration // as configured
		late   time.Duration // after exp
		want   *taskfeed.Error
	}{
		{"bad input 56: default leeway - 1 s", 0, 29 * time.Second, nil},
		{"bad input 56: default leeway - 1 ns", 0, 30*time.Second - 1, nil},
		{"bad input 56: default leeway", 0, 30 * time.Second, errExpired},
		{"bad input 56: default leeway + 1 s", 0, 31 * time.Second, errExpired},
		{"bad input 56: other leeway - 1 ns", 2 * time.Minute, 2*time.Minute - 1, nil},
		{"bad input 56: other leeway", 2 * time.Minute, 2 * time.Minute, errExpired},
		{"bad input 56: no leeway - 1 ns", -1, -1, nil},
		{"bad input 56: no leeway", -1, 0, errExpired},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := exp.Add(c.late)
			v := newVerifier(t, Config{Secret: secret, Leeway: c.leeway, Now: func() time.Time { return now }})
			token := signed(nil, claims(object{"exp": exp.Unix()}))
			if c.want != nil {
				wantRefused(t, v, token, c.want)
				return
			}
			p := wantAccepted(t, v, token, "alice")
			if !p.ExpiresAt.After(now) || p.ExpiresAt.After(exp.Add(2*time.Minute)) {
				t.Errorf("ExpiresAt: got %v, want the end of the leeway after %v", p.ExpiresAt, exp)
			}
		})
	}
}

func TestBadInput57NotYet(t *testing.T) {
	t.Parallel()
	at := func(name string, d time.Duration) string {
		return signed(nil, claims(object{name: noon.Add(d).Unix()}))
	}
	cfg := Config{Secret: secret}
	runRefusals(t, cfg, []refusal{
		{"bad input 57: nbf future by leeway + 1 s", at("nbf", 31*time.Second), errNotYet},
		{"bad input 57: iat future by leeway + 1 s", at("iat", 31*time.Second), errIssuedLater},
		{"bad input 57: nbf string", signed(nil, claims(object{"nbf": "0"})), errBadTime},
		{"bad input 57: iat string", signed(nil, claims(object{"iat": "0"})), errBadTime},
		{"bad input 57: nbf negative", signed(nil, claims(object{"nbf": -1})), errBadTime},
		{"bad input 57: iat 1e308", signed(nil, claims(object{"iat": 1e308})), errBadTime},
		{"bad input 57: nbf null", signedText("HS256", secret, `{"alg":"HS256"}`, `{"sub":"alice","exp":4102444800,"nbf":null}`), errBadTime},
	})
	for name, token := range map[string]string{
		"bad input 57: nbf future by leeway": at("nbf", 30*time.Second),
		"bad input 57: iat future by leeway": at("iat", 30*time.Second),
		"bad input 57: nbf 0":                signed(nil, claims(object{"nbf": 0})),
		"bad input 57: iat with a fraction":  signed(nil, claims(object{"iat": float64(noon.Unix()) - 0.25})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantAccepted(t, newVerifier(t, cfg), token, "alice")
		})
	}
}

func TestBadInput58IssuerAndAudience(t *testing.T) {
	t.Parallel()
	const issuer, audience = "https://issuer.example", "taskfeed"
	with := func(iss, aud any) string { return signed(nil, claims(object{"iss": iss, "aud": aud})) }
	cfg := Config{Secret: secret, Issuer: issuer, Audience: audience}
	runRefusals(t, cfg, []refusal{
		{"bad input 58: aud missing", with(issuer, nil), errAudience},
		{"bad input 58: aud empty", with(issuer, ""), errAudience},
		{"bad input 58: aud another", with(issuer, "billing"), errAudience},
		{"bad input 58: aud in another case", with(issuer, "Taskfeed"), errAudience},
		{"bad input 58: aud array without us", with(issuer, []any{"billing", "taskfeed2"}), errAudience},
		{"bad input 58: aud empty array", with(issuer, []any{}), errAudience},
		{"bad input 58: aud array with a number", with(issuer, []any{audience, 7}), errAudience},
		{"bad input 58: aud number", with(issuer, 7), errAudience},
		{"bad input 58: aud object", with(issuer, object{audience: true}), errAudience},
		{"bad input 58: iss missing", with(nil, audience), errIssuer},
		{"bad input 58: iss other", with("https://other.example", audience), errIssuer},
		{"bad input 58: iss trailing slash", with(issuer+"/", audience), errIssuer},
		{"bad input 58: iss array", with([]any{issuer}, audience), errIssuer},
	})
	t.Run("bad input 58: aud array with us", func(t *testing.T) {
		t.Parallel()
		wantAccepted(t, newVerifier(t, cfg), with(issuer, []any{"billing", audience}), "alice")
		wantAccepted(t, newVerifier(t, cfg), with(issuer, audience), "alice")
	})
	t.Run("bad input 58: not configured, only the types count", func(t *testing.T) {
		t.Parallel()
		v := newVerifier(t, Config{Secret: secret})
		wantAccepted(t, v, with("anybody", "anything"), "alice")
		wantRefused(t, v, with(7, "anything"), errIssuer)
		wantRefused(t, v, with("anybody", 7), errAudience)
	})
}

func TestBadInput59Subject(t *testing.T) {
	t.Parallel()
	cfg := Config{Secret: secret}
	cases := []refusal{
		{"bad input 59: sub missing", signed(nil, claims(object{"sub": nil})), errSubject},
		{"bad input 59: sub 10 KB", signed(nil, claims(object{"sub": strings.Repeat("a", 10<<10)})), errTooLong},
	}
	for name, sub := range map[string]any{
		"empty": "", "number": 7, "true": true, "array": []any{"alice"}, "object": object{"id": "alice"},
		"256 bytes":              strings.Repeat("a", 256),
		"255 letters of 2 bytes": strings.Repeat("é", 255),
		"NUL":                    "alice\x00", "line break": "alice\nbob", "tab": "\talice", "delete": "alice\x7f",
	} {
		cases = append(cases, refusal{"bad input 59: sub " + name, signed(nil, claims(object{"sub": sub})), errSubject})
	}
	for name, claims := range map[string]string{
		"null":           `{"exp":4102444800,"sub":null}`,
		"lone surrogate": `{"exp":4102444800,"sub":"alice\ud800"}`,
		"invalid UTF-8":  "{\"exp\":4102444800,\"sub\":\"alice\xff\"}",
		"in upper case":  `{"exp":4102444800,"SUB":"alice"}`,
	} {
		cases = append(cases, refusal{"bad input 59: sub " + name, signedText("HS256", secret, `{"alg":"HS256"}`, claims), errSubject})
	}
	runRefusals(t, cfg, cases)

	for _, sub := range []string{
		" alice", "alice ", "*", "Alice", "null", "'; drop table tasks; --", "../../alice",
		"Zoe\u0308", "Zo\u00eb", "\u0430lice", "\U0001f600", strings.Repeat("a", 255),
	} {
		t.Run(fmt.Sprintf("bad input 59: exact bytes of %.20q", sub), func(t *testing.T) {
			t.Parallel()
			wantAccepted(t, newVerifier(t, cfg), signed(nil, claims(object{"sub": sub})), sub)
		})
	}
}

func TestFeedsClaim(t *testing.T) {
	t.Parallel()
	ids := func(n int) (list []any) {
		for i := range n {
			list = append(list, fmt.Sprintf("team:%d", i))
		}
		return list
	}
	var cases []refusal
	for name, value := range map[string]any{
		"text": "team:1", "number": 7, "true": true, "object": object{"0": "team:1"}, "65 ids": ids(65),
		"a number in it": []any{"team:1", 7}, "a list in it": []any{[]any{"team:1"}}, "null in it": []any{nil},
		"an empty id": []any{""}, "256 bytes": []any{strings.Repeat("a", 256)}, "NUL": []any{"team\x00"}, "line break": []any{"team\n"},
	} {
		cases = append(cases, refusal{name, signed(nil, claims(object{"feeds": value})), errFeeds})
	}
	cases = append(cases,
		refusal{"null", signedText("HS256", secret, `{"alg":"HS256"}`, `{"sub":"alice","exp":4102444800,"feeds":null}`), errFeeds},
		refusal{"lone surrogate", signedText("HS256", secret, `{"alg":"HS256"}`, `{"sub":"alice","exp":4102444800,"feeds":["a\ud800"]}`), errFeeds})
	runRefusals(t, Config{Secret: secret}, cases)

	for _, c := range []struct {
		name   string
		cfg    Config
		claims object
		want   []string
	}{
		{"none", Config{}, object{}, nil},
		{"an empty list", Config{}, object{"feeds": []any{}}, nil},
		{"exact bytes, each once, without the user", Config{}, object{"feeds": []any{" a", "A", "*", "alice", "a", "A"}}, []string{" a", "A", "*", "a"}},
		{"64 ids", Config{}, object{"feeds": ids(64)}, func() (want []string) {
			for _, id := range ids(64) {
				want = append(want, id.(string))
			}
			return want
		}()},
		{"another claim", Config{FeedsClaim: "groups"}, object{"groups": []any{"team:1"}, "feeds": "anything"}, []string{"team:1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.cfg.Secret = secret
			if got := wantAccepted(t, newVerifier(t, c.cfg), signed(nil, claims(c.claims)), "alice"); !slices.Equal(got.Feeds, c.want) {
				t.Errorf("feeds %q, want %q", got.Feeds, c.want)
			}
		})
	}
}

func TestBadInput60Role(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		claim string // of the configuration
		set   object
		admin bool
	}{
		{"the string admin", "", object{"role": "admin"}, true},
		{"no role", "", object{}, false},
		{"array", "", object{"role": []any{"admin"}}, false},
		{"object", "", object{"role": object{"admin": true}}, false},
		{"true", "", object{"role": true}, false},
		{"Admin", "", object{"role": "Admin"}, false},
		{"ADMIN", "", object{"role": "ADMIN"}, false},
		{"with a space", "", object{"role": "admin "}, false},
		{"list in a string", "", object{"role": "user,admin"}, false},
		{"claim in another case", "", object{"Role": "admin"}, false},
		{"another claim", "", object{"roles": "admin", "admin": true, "scope": "admin"}, false},
		{"configured claim", "https://taskfeed.example/role", object{"https://taskfeed.example/role": "admin"}, true},
		{"default claim when another is configured", "app_role", object{"role": "admin"}, false},
	} {
		t.Run("bad input 60: "+c.name, func(t *testing.T) {
			t.Parallel()
			v := newVerifier(t, Config{Secret: secret, RoleClaim: c.claim})
			p := wantAccepted(t, v, signed(nil, claims(c.set)), "alice")
			if got := p.Admin(); got != c.admin {
				t.Errorf("Admin with %v: got %t, want %t", c.set, got, c.admin)
			}
		})
	}
}

func TestBadInput61Type(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want  string
		header, set object
		accepted    bool
	}{
		{"access token by its header", "at+jwt", object{"typ": "at+jwt"}, nil, true},
		{"access token by its long header", "at+jwt", object{"typ": "application/AT+JWT"}, nil, true},
		{"access token by its claim", "Bearer", nil, object{"typ": "Bearer"}, true},
		{"plain JWT", "at+jwt", nil, nil, false},
		{"no typ", "at+jwt", object{"typ": nil}, nil, false},
		{"ID token by its claim", "Bearer", nil, object{"typ": "ID"}, false},
		{"refresh token by its claim", "Bearer", nil, object{"typ": "Refresh"}, false},
		{"refresh token by its header", "at+jwt", object{"typ": "rt+jwt"}, nil, false},
		{"logout token", "at+jwt", object{"typ": "logout+jwt"}, nil, false},
		{"array", "Bearer", nil, object{"typ": []any{"Bearer"}}, false},
		{"not configured", "", nil, object{"typ": "ID"}, true},
	} {
		t.Run("bad input 61: "+c.name, func(t *testing.T) {
			t.Parallel()
			v, token := newVerifier(t, Config{Secret: secret, Type: c.want}), signed(c.header, claims(c.set))
			if c.accepted {
				wantAccepted(t, v, token, "alice")
				return
			}
			wantRefused(t, v, token, errType)
		})
	}
}

func TestBadInput63ForgedRole(t *testing.T) {
	t.Parallel()
	user := signed(nil, claims(object{"role": "user"}))
	header, rest, _ := strings.Cut(user, ".")
	_, signature, _ := strings.Cut(rest, ".")
	forged := encode(`{"sub":"alice","exp":4102444800,"role":"admin"}`)
	runRefusals(t, Config{Secret: secret}, []refusal{
		{"bad input 63: role signed by a user's own key", signedWith("HS256", []byte("a key that a user has made up, long enough"), nil, claims(object{"role": "admin"})), errUnknownKey},
		{"bad input 63: role changed under a good signature", header + "." + forged + "." + signature, errUnknownKey},
	})
	t.Run("bad input 63: role in the header is none", func(t *testing.T) {
		t.Parallel()
		p := wantAccepted(t, newVerifier(t, Config{Secret: secret}), signed(object{"role": "admin"}, claims()), "alice")
		if p.Admin() || p.Role != "" {
			t.Errorf("role: got %q, want none", p.Role)
		}
	})
}
