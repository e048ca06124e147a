package httpapi

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// expectProblem checks a refusal, and that it repeats nothing of the request.
func expectProblem(t *testing.T, got wstest.Refusal, status int, code taskfeed.Code) {
	t.Helper()
	if got.Status != status || got.Code != code {
		t.Errorf("refused with %d %s (%s), want %d %s", got.Status, got.Code, got.Body, status, code)
	}
	if kind := got.Header.Get("Content-Type"); kind != "application/problem+json" {
		t.Errorf("content type %q, want application/problem+json", kind)
	}
}

func TestBadInput14Credentials(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	token := f.token("alice")
	bearer := http.Header{"Authorization": {"Bearer " + token}}
	protocols := []string{"taskfeed.v1", "bearer." + token}

	for name, tc := range map[string]struct {
		query string
		opts  wstest.Options
		code  int // 0: the feed opens
	}{
		"in the query":                       {query: "?token=" + token},
		"in Authorization":                   {opts: wstest.Options{Header: bearer}},
		"in Authorization, lower case":       {opts: wstest.Options{Header: http.Header{"Authorization": {"bearer  " + token}}}},
		"beside another scheme":              {query: "?token=" + token, opts: wstest.Options{Header: http.Header{"Authorization": {"Basic YTpi"}}}},
		"no token":                           {code: taskfeed.CloseBadToken},
		"an empty token":                     {query: "?token=", code: taskfeed.CloseBadToken},
		"an empty Bearer":                    {opts: wstest.Options{Header: http.Header{"Authorization": {"Bearer"}}}, code: taskfeed.CloseBadToken},
		"a token longer than any":            {query: "?token=" + strings.Repeat("x", 9000), code: taskfeed.CloseBadToken},
		"a token cut off":                    {query: "?token=" + token[:len(token)-1], code: taskfeed.CloseBadToken},
		"bad input 18: odd bytes in bearer.": {opts: wstest.Options{Subprotocols: []string{"taskfeed.v1", "bearer.\"\\;=\xe9"}}, code: taskfeed.CloseBadToken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := wstest.Dial(t, f.url+"/ws/alice"+tc.query, tc.opts)
			if tc.code == 0 {
				c.ExpectQuiet()
			} else {
				c.ExpectClose(tc.code)
			}
		})
	}
	for name, tc := range map[string]struct {
		query string
		opts  wstest.Options
	}{
		"query and header":        {"?token=" + token, wstest.Options{Header: bearer}},
		"query and subprotocol":   {"?token=" + token, wstest.Options{Subprotocols: protocols}},
		"header and subprotocol":  {"", wstest.Options{Header: bearer, Subprotocols: protocols}},
		"query twice":             {"?token=" + token + "&token=", wstest.Options{}},
		"header twice":            {"", wstest.Options{Header: http.Header{"Authorization": {"Bearer a", "Bearer b"}}}},
		"query and empty header":  {"?token=" + token, wstest.Options{Header: http.Header{"Authorization": {"Bearer "}}}},
		"two among subprotocols":  {"", wstest.Options{Subprotocols: []string{"bearer.a", "bearer.b"}}},
		"in two subprotocol rows": {"", wstest.Options{Header: http.Header{"Sec-WebSocket-Protocol": {"bearer.a", "bearer.b"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectProblem(t, wstest.Refused(t, f.url+"/ws/alice"+tc.query, tc.opts), 400, taskfeed.CodeAmbiguousCredentials)
		})
	}
}

func TestBadInput15Origin(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{AllowedOrigins: []string{"https://good.com", "https://App.Example.com:8443"}}})
	host := strings.TrimPrefix(f.url, "http://")
	for _, tc := range []struct {
		origins []string
		ok      bool
	}{
		{nil, true},
		{[]string{"http://" + host}, true},
		{[]string{"https://" + host}, true}, // a proxy may speak TLS in front
		{[]string{"https://good.com"}, true},
		{[]string{"https://GOOD.com"}, true},
		{[]string{"https://good.com:443"}, true},
		{[]string{"https://app.example.com:8443"}, true},
		{[]string{"http://good.com"}, false},
		{[]string{"https://good.com:444"}, false},
		{[]string{"https://good.com.evil.io"}, false},
		{[]string{"https://evilgood.com"}, false},
		{[]string{"https://good.com@evil.io"}, false},
		{[]string{"https://good.com/"}, false},
		{[]string{"https://good.com#"}, false},
		{[]string{"https://good.com?"}, false},
		{[]string{"ftp://good.com"}, false},
		{[]string{"app.example.com:8443"}, false},
		{[]string{"https://app.example.com"}, false},
		{[]string{"null"}, false},
		{[]string{""}, false},
		{[]string{"https://good.com", "https://good.com"}, false},
		{[]string{"https://good.com", "https://evil.io"}, false},
	} {
		t.Run(strings.Join(tc.origins, " and "), func(t *testing.T) {
			t.Parallel()
			opts := wstest.Options{Header: http.Header{"Origin": tc.origins}}
			url := f.url + "/ws/alice?token=" + f.token("alice")
			if tc.ok {
				wstest.Dial(t, url, opts).ExpectQuiet()
				return
			}
			expectProblem(t, wstest.Refused(t, url, opts), 403, taskfeed.CodeOriginNotAllowed)
		})
	}

	t.Run("any origin is allowed, but an invalid one is not", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: Config{AllowedOrigins: []string{"*"}}})
		opts := wstest.Options{Header: http.Header{"Origin": {"https://anywhere.example"}}}
		wstest.Dial(t, f.feedURL("alice"), opts).ExpectQuiet()
		opts.Header.Set("Origin", "null")
		expectProblem(t, wstest.Refused(t, f.feedURL("alice"), opts), 403, taskfeed.CodeOriginNotAllowed)
	})
}

// refusalOf reads the refusal of a handshake.
func refusalOf(t *testing.T, r *wstest.Raw) wstest.Refusal {
	t.Helper()
	body, err := io.ReadAll(r.Response.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return wstest.Refusal{Status: r.Response.StatusCode, Header: r.Response.Header, Code: wstest.ProblemCode(body), Body: string(body)}
}

func TestBadInput16Handshake(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	url := f.feedURL("alice")

	for name, tc := range map[string]struct {
		header http.Header
		status int
		code   taskfeed.Code
	}{
		"no Upgrade":              {http.Header{"Upgrade": nil}, 426, taskfeed.CodeUpgradeRequired},
		"no Connection":           {http.Header{"Connection": {"keep-alive"}}, 426, taskfeed.CodeUpgradeRequired},
		"another Upgrade":         {http.Header{"Upgrade": {"h2c"}}, 426, taskfeed.CodeUpgradeRequired},
		"version 8":               {http.Header{"Sec-Websocket-Version": {"8"}}, 400, taskfeed.CodeBadRequest},
		"no version":              {http.Header{"Sec-Websocket-Version": nil}, 400, taskfeed.CodeBadRequest},
		"key of another length":   {http.Header{"Sec-Websocket-Key": {"c2hvcnQ="}}, 400, taskfeed.CodeBadRequest},
		"key that is no base64":   {http.Header{"Sec-Websocket-Key": {"!!!!!!!!!!!!!!!!!!!!!!=="}}, 400, taskfeed.CodeBadRequest},
		"two keys":                {http.Header{"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="}}, 400, taskfeed.CodeBadRequest},
		"no key":                  {http.Header{"Sec-Websocket-Key": nil}, 400, taskfeed.CodeBadRequest},
		"body announced too long": {http.Header{"Content-Length": {"9999999999"}}, 413, taskfeed.CodeTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectProblem(t, refusalOf(t, wstest.Handshake(t, url, wstest.HandshakeHeader(tc.header))), tc.status, tc.code)
		})
	}

	t.Run("the header says what to use instead", func(t *testing.T) {
		t.Parallel()
		got := wstest.Handshake(t, url, http.Header{}).Response.Header
		if got.Get("Upgrade") != "websocket" || got.Get("Connection") != "Upgrade" {
			t.Errorf("Upgrade %q and Connection %q, want websocket and Upgrade", got.Get("Upgrade"), got.Get("Connection"))
		}
		got = wstest.Handshake(t, url, wstest.HandshakeHeader(http.Header{"Sec-Websocket-Version": {"8"}})).Response.Header
		if got.Get("Sec-Websocket-Version") != "13" {
			t.Errorf("Sec-WebSocket-Version %q, want 13", got.Get("Sec-Websocket-Version"))
		}
	})
}

func TestBadInput16Methods(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodDelete} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			resp, body := f.do(must(http.NewRequest(method, f.url+"/ws/alice", nil)))
			if got := resp.Header.Get("Allow"); resp.StatusCode != 405 || !strings.Contains(got, "GET") {
				t.Errorf("%s: %d, Allow %q, %s; want 405 and GET", method, resp.StatusCode, got, body)
			}
		})
	}
}

// TestBadInput16RawRequests is bad input 16 and 17 that no HTTP client sends.
func TestBadInput16RawRequests(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for name, tc := range map[string]struct {
		request string
		status  int
	}{
		"HTTP/1.0":                 {"GET /ws/alice HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400},
		"HTTP/2 prior knowledge":   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		"HTTP/3":                   {"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
		"no HTTP":                  {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		"bad input 17: 64 KB":      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431},
		"bad input 17: 10,000":     {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 10_000) + "\r\n", 431},
		"bad input 17: long query": {"GET /ws/alice?token=" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := wstest.Connect(t, strings.TrimPrefix(f.url, "http://"))
			_ = c.TryBytes([]byte(tc.request)) // the answer may come before all is sent
			c.ReadResponse()
			if got := c.Response.StatusCode; got != tc.status {
				t.Errorf("status %d, want %d", got, tc.status)
			}
		})
	}
}

func TestFramesBeforeTheHandshakeEnds(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	url := f.feedURL("alice")
	c := wstest.Connect(t, strings.TrimPrefix(f.url, "http://"))
	request := "GET " + strings.TrimPrefix(url, f.url) + " HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
	c.SendBytes(append([]byte(request), wstest.Text("ping").Bytes()...))
	if _, err := bufio.NewReader(c.Conn).ReadByte(); err == nil {
		t.Error("there is an answer, want the connection closed")
	}
	f.eventually("nothing of it is left", func() bool { return f.hub.Stats().Reserved == 0 })
}

func TestBadInput17SlowHeader(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{ReadHeaderTimeout: 50 * time.Millisecond}})
	c := wstest.Connect(t, strings.TrimPrefix(f.url, "http://"))
	c.SendBytes([]byte("GET / HTTP/1.1\r\nHo"))
	_ = c.Conn.SetReadDeadline(time.Now().Add(wstest.Patience))
	if _, err := io.Copy(io.Discard, c.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open, want its end")
	}
}

func TestBadInput18Subprotocols(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for name, tc := range map[string]struct {
		protocols []string
		query     string
		want      string
	}{
		"without ours":            {[]string{"graphql-ws", "mqtt"}, "?token=" + f.token("alice"), ""},
		"ours among others":       {[]string{"mqtt", "taskfeed.v1"}, "?token=" + f.token("alice"), "taskfeed.v1"},
		"ours in other case":      {[]string{"Taskfeed.V1"}, "?token=" + f.token("alice"), ""},
		"a token and not ours":    {[]string{"bearer." + f.token("alice")}, "", ""},
		"a token and then ours":   {[]string{"bearer." + f.token("alice"), "taskfeed.v1"}, "", "taskfeed.v1"},
		"a token that is refused": {[]string{"taskfeed.v1", "bearer.x"}, "", "taskfeed.v1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := wstest.DialRaw(t, f.url+"/ws/alice"+tc.query, http.Header{"Sec-WebSocket-Protocol": {strings.Join(tc.protocols, ", ")}})
			if got := c.Response.Header.Get("Sec-WebSocket-Protocol"); got != tc.want {
				t.Errorf("subprotocol %q, want %q", got, tc.want)
			}
			if all := fmt.Sprint(c.Response.Header); strings.Contains(all, "bearer") || strings.Contains(all, "eyJ") {
				t.Errorf("the answer repeats the token: %s", all)
			}
		})
	}
}

func TestBadInput19ForwardedFor(t *testing.T) {
	t.Parallel()
	refusedAt := func(t *testing.T, f *fixture, forwarded func(i int) string) int {
		t.Helper()
		for i := range 10 {
			header := http.Header{"X-Forwarded-For": {forwarded(i)}}
			c := wstest.Handshake(t, f.url+"/ws/alice", wstest.HandshakeHeader(header))
			if c.Response.StatusCode == http.StatusTooManyRequests {
				if c.Response.Header.Get("Retry-After") == "" {
					t.Error("there is no Retry-After")
				}
				return i
			}
		}
		return -1
	}
	spoofed := func(i int) string { return fmt.Sprintf("203.0.113.%d", i) }

	t.Run("a peer that is not a trusted proxy is limited by its own address", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: Config{HandshakesPerMinute: 3}})
		if got := refusedAt(t, f, spoofed); got != 3 {
			t.Errorf("refused at handshake %d, want 3", got)
		}
	})
	t.Run("the address that a trusted proxy forwards counts", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: Config{HandshakesPerMinute: 3, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}})
		if got := refusedAt(t, f, spoofed); got != -1 {
			t.Errorf("refused at handshake %d, want all to pass", got)
		}
		spoofedBehindProxy := func(i int) string { return spoofed(i) + ", 198.51.100.7" }
		if got := refusedAt(t, f, spoofedBehindProxy); got != 3 {
			t.Errorf("refused at handshake %d, want 3", got)
		}
	})
}

func TestBadInput20UnknownParameters(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	f.dial("alice", "colour=blue", "since=%00", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.x=1", "access_token="+f.token("bob")).ExpectQuiet()
	f.get("/nothing/" + f.token("alice"))
	f.get("/%65%79%4A" + f.token("alice")[3:])
	f.eventually("the requests are logged", func() bool { return len(f.logs.lines(`"msg":"request"`, "REDACTED")) >= 3 })
}

func TestBadInput21Limits(t *testing.T) {
	t.Parallel()

	t.Run("connections of one user", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{limits: hub.Config{MaxPerUser: 2}})
		f.dial("alice")
		second := f.dial("alice")
		got := wstest.Refused(t, f.feedURL("alice"), wstest.Options{})
		expectProblem(t, got, 429, taskfeed.CodeTooManyConnections)
		if got.Header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
		f.dial("bob").ExpectQuiet()
		second.Close(1000)
		f.dial("alice").ExpectQuiet()
		if got := f.metric(`taskfeed_handshake_refusals_total{code="too_many_connections"}`); got != 1 {
			t.Errorf("%v refusals are counted, want 1", got)
		}
	})

	t.Run("connections in all", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{limits: hub.Config{MaxTotal: 1}})
		f.dial("alice")
		got := wstest.Refused(t, f.feedURL("bob"), wstest.Options{})
		expectProblem(t, got, 503, taskfeed.CodeUnavailable)
		if got.Header.Get("Retry-After") == "" {
			t.Error("there is no Retry-After")
		}
	})

	t.Run("connections with refused tokens take no place in the hub", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{limits: hub.Config{MaxTotal: 1}})
		f.dial("alice")
		wstest.Dial(t, f.url+"/ws/alice?token=x", wstest.Options{}).ExpectClose(taskfeed.CloseBadToken)
		f.awaitEnd(1)
	})
}

func TestBadInput22NotMigrated(t *testing.T) {
	t.Parallel()
	why := &taskfeed.Error{Code: taskfeed.CodeUnavailable, Message: "the schema is older than this server: run taskfeed migrate up"}
	f := serve(t, setup{deps: Deps{Unavailable: func() error { return why }}})
	got := wstest.Refused(t, f.feedURL("alice"), wstest.Options{})
	expectProblem(t, got, 503, taskfeed.CodeUnavailable)
	if !strings.Contains(got.Body, "migrate up") || got.Header.Get("Retry-After") == "" {
		t.Errorf("%s with Retry-After %q, want what to do and when", got.Body, got.Header.Get("Retry-After"))
	}
}

func TestBadInput23Compression(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for _, offer := range []string{"permessage-deflate", "permessage-deflate; client_max_window_bits=99; x", ";;,=\"", "permessage-deflate, permessage-deflate"} {
		c := wstest.DialRaw(t, f.feedURL("alice"), http.Header{"Sec-WebSocket-Extensions": {offer}})
		if got := c.Response.Header.Values("Sec-WebSocket-Extensions"); len(got) > 0 {
			t.Errorf("offer %q: extensions %q, want none", offer, got)
		}
	}
}

func TestBadInput25Cursor(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	for _, after := range []string{"", "-1", "1.5", "0x10", "9223372036854775808", "9007199254740992", "%201", "1%20", "+1", "1e3",
		"%00", "1%00", strings.Repeat("9", 10_000), "%D9%A1", "after", "1&after=1"} {
		// The cursor is checked before the token.
		expectProblem(t, wstest.Refused(t, f.url+"/ws/alice?after="+after, wstest.Options{}), 400, taskfeed.CodeBadCursor)
	}
}

// TestTooManyAtOnce: beyond the rate of the server a client is told to come back before
// its request, its token or its cursor is looked at.
func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{HandshakesPerSecond: 1}})
	refused := func(url string) (got wstest.Refusal) {
		for range 100 { // an attempt may take a second
			if got = wstest.Refused(t, url, wstest.Options{}); got.Status == 503 {
				break
			}
		}
		return got
	}
	got := refused(f.url + "/ws/alice?after=bad")
	expectProblem(t, got, 503, taskfeed.CodeUnavailable)
	if got.Header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	for range 100 { // a browser's EventSource would give up at any other status
		if _, body := f.getAs("no token", "/v1/events/stream", "Last-Event-ID", "7"); strings.Contains(body, `"code":1012`) {
			break
		} else if !strings.Contains(body, string(taskfeed.CodeBadToken)) {
			t.Fatalf("a stream: %s, want the token refused, or a stream that ends with 1012", body)
		}
	}
	if got := f.metric("taskfeed_handshakes_deferred_total"); got < 2 {
		t.Errorf("%v handshakes are counted as deferred, want 2 at least", got)
	}
}
