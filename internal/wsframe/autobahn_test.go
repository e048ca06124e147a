package wsframe_test

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// The cases of the Autobahn test suite for WebSocket servers, by its numbers, played
// against the whole server. Where the suite expects an echo, the server differs: it
// reads, counts and ignores a text that it does not know, refuses binary messages and
// negotiates no extension. That it still works shows by its answer to the text ping.

// alive is the end of a case after which the server still answers a ping and the
// closing handshake.
const alive = 0

// autobahn is one case: a script of acts, and the close code that ends it.
type autobahn struct {
	name    string
	script  []act
	end     int // close code, or alive
	ignored int // whole text messages that the server reads and does not know
}

// act is something that the client sends, or something that it gets.
type act struct {
	send []wstest.Frame
	chop int // bytes of each write; 0: all in one
	want string
}

func send(frames ...wstest.Frame) act                      { return act{send: frames} }
func chop(n int, frames ...wstest.Frame) act               { return act{send: frames, chop: n} }
func pongs(payload string) act                             { return act{want: fmt.Sprintf("frame 0xa %q", payload)} }
func script(s ...act) []act                                { return s }
func text(s string) wstest.Frame                           { return wstest.Text(s) }
func ping(payload string) wstest.Frame                     { return wstest.Ping(payload) }
func begin(s string) wstest.Frame                          { return wstest.Frame{Op: wsframe.OpText, Payload: []byte(s)} }
func more(s string) wstest.Frame                           { return wstest.Frame{Payload: []byte(s)} }
func last(s string) wstest.Frame                           { return wstest.Frame{Fin: true, Payload: []byte(s)} }
func closing(code int, reason string) act                  { return send(wstest.Close(code, reason)) }
func whole(op wsframe.Opcode, payload string) wstest.Frame { return frameOf(op, 0, payload) }

func frameOf(op wsframe.Opcode, rsv byte, payload string) wstest.Frame {
	return wstest.Frame{Fin: true, Op: op, RSV: rsv, Payload: []byte(payload)}
}

// textPongs is the answer to the text ping.
var textPongs = act{want: `frame 0x1 "pong"`}

// play runs the script and sees the connection end as the case says.
func (tc autobahn) play(t *testing.T, c *wstest.Raw) {
	t.Helper()
	for _, s := range tc.script {
		if s.want != "" {
			if got := describeFrame(c.Read()); got != s.want {
				t.Fatalf("got %s, want %s", got, s.want)
			}
			continue
		}
		var b []byte
		for _, f := range s.send {
			b = append(b, f.Bytes()...)
		}
		if s.chop == 0 {
			_ = c.TryBytes(b) // the server may have had enough before the end
		} else {
			c.SendChopped(s.chop, s.send...)
		}
	}
	if tc.end == alive {
		c.Send(text("ping"))
		if got := describeFrame(c.Read()); got != textPongs.want {
			t.Fatalf("got %s, want an answer to the ping", got)
		}
		c.Send(wstest.Close(1000, ""))
	}
	if got, want := closeCodeOf(t, c.Read()), cmp.Or(tc.end, 1000); got != want {
		t.Fatalf("got close code %d, want %d", got, want)
	}
	c.ExpectEnd()
}

func describeFrame(f wstest.Frame) string { return fmt.Sprintf("frame %#x %q", f.Op, f.Payload) }

// closeCodeOf returns the code of a close frame, 1005 when it has none.
func closeCodeOf(t *testing.T, f wstest.Frame) int {
	t.Helper()
	if f.Op != wsframe.OpClose || !f.Fin || f.RSV != 0 {
		t.Fatalf("got %s, want a close frame", describeFrame(f))
	}
	code, _, err := wsframe.ParseClose(f.Payload)
	if err != nil {
		t.Fatalf("close frame %q: %v", f.Payload, err)
	}
	return code
}

// playAll runs all cases at once against one server and counts what it ignored.
func playAll(t *testing.T, cases []autobahn) {
	t.Helper()
	f := serve(t)
	var ignored atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for i, tc := range cases {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				tc.play(t, f.dial(fmt.Sprint("autobahn-", i), nil))
				ignored.Add(int64(tc.ignored))
			})
		}
	})
	if got, want := f.ignored(), int(ignored.Load()); got != want && !t.Failed() {
		t.Errorf("texts that were read whole and ignored: got %d, want %d", got, want)
	}
}

// repeated is a text of so many bytes.
func repeated(n int) string { return strings.Repeat("*", n) }

func TestAutobahn01Framing(t *testing.T) {
	t.Parallel()
	var cases []autobahn
	for i, size := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		cases = append(cases,
			autobahn{fmt.Sprintf("1.1.%d text of %d bytes", i+1, size), script(send(text(repeated(size)))), alive, 1},
			autobahn{fmt.Sprintf("1.2.%d binary of %d bytes", i+1, size), script(send(whole(wsframe.OpBinary, repeated(size)))), wsframe.CloseUnsupported, 0})
	}
	playAll(t, append(cases,
		autobahn{"1.1.8 text of 65536 bytes in writes of 997", script(chop(997, text(repeated(65536)))), alive, 1},
		autobahn{"1.2.8 binary of 125 bytes in writes of 97", script(chop(97, whole(wsframe.OpBinary, repeated(91)))), wsframe.CloseUnsupported, 0}))
}

func TestAutobahn02PingsAndPongs(t *testing.T) {
	t.Parallel()
	const any = "\x00\xff\xfe\xfd\xfc\xfb\x00\xff" // no UTF-8: a ping's payload need not be
	full := repeated(125)
	pong := func(payload string) wstest.Frame { return whole(wsframe.OpPong, payload) }
	var ten, tenChopped []act
	for i := range 10 {
		payload := fmt.Sprint("payload-", i)
		ten = append(ten, send(ping(payload)), pongs(payload))
		tenChopped = append(tenChopped, chop(1, ping(payload)), pongs(payload))
	}
	playAll(t, []autobahn{
		{"2.1 ping without payload", script(send(ping("")), pongs("")), alive, 0},
		{"2.2 ping with text", script(send(ping("Hello, world!")), pongs("Hello, world!")), alive, 0},
		{"2.3 ping with bytes that are no text", script(send(ping(any)), pongs(any)), alive, 0},
		{"2.4 ping with 125 bytes", script(send(ping(full)), pongs(full)), alive, 0},
		{"2.5 ping with 126 bytes", script(send(ping(full + "*"))), wsframe.CloseProtocolError, 0},
		{"2.6 ping with 125 bytes, octet by octet", script(chop(1, ping(full)), pongs(full)), alive, 0},
		{"2.7 pong that nobody asked for, without payload", script(send(pong(""))), alive, 0},
		{"2.8 pong that nobody asked for", script(send(pong("unsolicited"))), alive, 0},
		{"2.9 pong that nobody asked for, and a ping", script(send(pong("unsolicited"), ping("asked")), pongs("asked")), alive, 0},
		{"2.10 ten pings", ten, alive, 0},
		{"2.11 ten pings, octet by octet", tenChopped, alive, 0},
		{"2.5 pong with 126 bytes", script(send(pong(full + "*"))), wsframe.CloseProtocolError, 0},
	})
}

// Pings that come faster than they are answered may be answered together (RFC
// 6455 section 5.5.3), but only backwards: the last one always is.
func TestAutobahn02TenPingsAtOnce(t *testing.T) {
	t.Parallel()
	f := serve(t)
	c := f.dial("alice", nil)
	var frames []wstest.Frame
	for i := range 10 {
		frames = append(frames, ping(fmt.Sprint(i)))
	}
	c.Send(frames...)
	for before := ""; before != "9"; {
		got := c.Read()
		if payload := string(got.Payload); got.Op != wsframe.OpPong || payload <= before {
			t.Fatalf("after the pong %q: got %s, want a later pong", before, describeFrame(got))
		}
		before = string(got.Payload)
	}
	autobahn{}.play(t, c)
}

func TestAutobahn03ReservedBits(t *testing.T) {
	t.Parallel()
	var cases []autobahn
	for rsv := byte(1); rsv <= 7; rsv++ {
		op := []wsframe.Opcode{wsframe.OpText, wsframe.OpText, wsframe.OpText, wsframe.OpText, wsframe.OpBinary, wsframe.OpPing, wsframe.OpClose}[rsv-1]
		bad := frameOf(op, rsv, "*")
		cases = append(cases,
			autobahn{fmt.Sprintf("3.%d alone", rsv), script(send(bad)), wsframe.CloseProtocolError, 0},
			autobahn{fmt.Sprintf("3.%d after a good text and before a ping", rsv), script(send(text("ping"), bad, ping("")), textPongs), wsframe.CloseProtocolError, 0},
			autobahn{fmt.Sprintf("3.%d after a good text, octet by octet", rsv), script(chop(1, text("ping")), textPongs, chop(1, bad)), wsframe.CloseProtocolError, 0})
	}
	playAll(t, cases)
}

func TestAutobahn04Opcodes(t *testing.T) {
	t.Parallel()
	var cases []autobahn
	for group, first := range map[int]wsframe.Opcode{1: 3, 2: 11} {
		for i := range wsframe.Opcode(5) {
			op, number := first+i, fmt.Sprintf("4.%d.%d opcode %d", group, i+1, first+i)
			cases = append(cases,
				autobahn{number, script(send(whole(op, ""))), wsframe.CloseProtocolError, 0},
				autobahn{number + " with payload", script(send(whole(op, "reserved"))), wsframe.CloseProtocolError, 0},
				autobahn{number + " after a good text and before a ping", script(send(text("ping"), whole(op, "reserved"), ping("")), textPongs), wsframe.CloseProtocolError, 0})
		}
	}
	playAll(t, cases)
}

func TestAutobahn05Fragmentation(t *testing.T) {
	t.Parallel()
	pieces := []wstest.Frame{begin("p"), more("i"), ping("one"), more("n"), ping("two"), last("g")}
	nothing, nothingYet := last("there is nothing"), more("there is nothing")
	again := []wstest.Frame{begin("fragment 1"), last("fragment 2"), nothingYet, text("ping"), nothingYet, text("ping")}
	final := []wstest.Frame{begin("fragment 1"), last("fragment 2"), nothing, text("ping")}
	playAll(t, []autobahn{
		{"5.1 ping in two fragments", script(send(wstest.Frame{Op: wsframe.OpPing, Payload: []byte("a")}, last("b"))), wsframe.CloseProtocolError, 0},
		{"5.2 pong in two fragments", script(send(wstest.Frame{Op: wsframe.OpPong, Payload: []byte("a")}, last("b"))), wsframe.CloseProtocolError, 0},
		{"5.3 text in two fragments", script(send(begin("pi"), last("ng")), textPongs), alive, 0},
		{"5.4 text in two fragments, a write for each", script(send(begin("pi")), send(last("ng")), textPongs), alive, 0},
		{"5.5 text in two fragments, octet by octet", script(chop(1, begin("pi"), last("ng")), textPongs), alive, 0},
		{"5.6 a ping between fragments", script(send(begin("pi"), ping("x")), pongs("x"), send(last("ng")), textPongs), alive, 0},
		{"5.7 a ping between fragments, a write for each", script(send(begin("pi")), send(ping("x")), pongs("x"), send(last("ng")), textPongs), alive, 0},
		{"5.8 a ping between fragments, octet by octet", script(chop(1, begin("pi"), ping("x")), pongs("x"), chop(1, last("ng")), textPongs), alive, 0},
		{"5.9 last fragment of nothing, then a text", script(send(nothing, text("ping"))), wsframe.CloseProtocolError, 0},
		{"5.10 last fragment of nothing, then a text, a write for each", script(send(nothing), send(text("ping"))), wsframe.CloseProtocolError, 0},
		{"5.11 last fragment of nothing, octet by octet", script(chop(1, nothing)), wsframe.CloseProtocolError, 0},
		{"5.12 fragment of nothing, then a text", script(send(nothingYet, text("ping"))), wsframe.CloseProtocolError, 0},
		{"5.13 fragment of nothing, then a text, a write for each", script(send(nothingYet), send(text("ping"))), wsframe.CloseProtocolError, 0},
		{"5.14 fragment of nothing, octet by octet", script(chop(1, nothingYet)), wsframe.CloseProtocolError, 0},
		{"5.15 text in two fragments, last fragment of nothing, text", script(send(final...)), wsframe.CloseProtocolError, 1},
		{"5.16 fragment of nothing, text, twice", script(send(again[2:]...)), wsframe.CloseProtocolError, 0},
		{"5.17 last fragment of nothing, text, twice", script(send(nothing, text("ping"), nothing, text("ping"))), wsframe.CloseProtocolError, 0},
		{"5.18 text inside a text", script(send(begin("fragment 1"), text("fragment 2"))), wsframe.CloseProtocolError, 0},
		{"5.18 text in two fragments, fragment of nothing, text, twice", script(send(again...)), wsframe.CloseProtocolError, 1},
		{"5.19 text in four fragments with two pings between", script(send(pieces[:3]...), pongs("one"), send(pieces[3:5]...), pongs("two"), send(pieces[5]), textPongs), alive, 0},
		{"5.20 text in four fragments with two pings between, octet by octet",
			script(chop(1, pieces[:3]...), pongs("one"), chop(1, pieces[3:5]...), pongs("two"), chop(1, pieces[5]), textPongs), alive, 0},
	})
}

func TestAutobahn07CloseHandling(t *testing.T) {
	t.Parallel()
	empty := send(whole(wsframe.OpClose, ""))
	cases := []autobahn{
		{"7.1.1 text, then close", script(send(text("ping")), textPongs, closing(1000, "")), 1000, 0},
		{"7.1.2 two close frames", script(send(wstest.Close(1000, ""), wstest.Close(1000, ""))), 1000, 0},
		{"7.1.3 ping after close", script(send(wstest.Close(1000, ""), ping("late"))), 1000, 0},
		{"7.1.4 text after close", script(send(wstest.Close(1000, ""), text("ping"))), 1000, 0},
		{"7.1.5 close inside a text", script(send(begin("pi"), wstest.Close(1000, ""), last("ng"))), 1000, 0},
		{"7.1.6 long text, close, ping", script(send(text(repeated(65536)), wstest.Close(1000, ""), ping(""))), 1000, 1},
		{"7.3.1 close without payload", script(empty), wsframe.CloseNoStatus, 0},
		{"7.3.2 close with one byte", script(send(whole(wsframe.OpClose, "a"))), wsframe.CloseProtocolError, 0},
		{"7.3.3 close with a code", script(closing(1000, "")), 1000, 0},
		{"7.3.4 close with a reason", script(closing(1000, "Hello World!")), 1000, 0},
		{"7.3.5 close with a reason of 123 bytes", script(closing(1000, repeated(123))), 1000, 0},
		{"7.3.6 close with a reason of 124 bytes", script(closing(1000, repeated(124))), wsframe.CloseProtocolError, 0},
		{"7.5.1 close with a reason that is not UTF-8", script(closing(1000, "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64")), wsframe.CloseProtocolError, 0},
		{"7.5.1 close with a reason that ends in a code point", script(closing(1000, repeated(121)+"\xe2\x82")), wsframe.CloseProtocolError, 0},
	}
	number := func(group string, i, code int) string { return fmt.Sprintf("%s.%d close code %d", group, i+1, code) }
	for i, code := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999, 1012, 1013, 1014} {
		cases = append(cases, autobahn{number("7.7", i, code), script(closing(code, "")), code, 0})
	}
	for i, code := range []int{0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 1015} {
		cases = append(cases, autobahn{number("7.9", i, code), script(closing(code, "")), wsframe.CloseProtocolError, 0})
	}
	for i, code := range []int{5000, 65535} {
		cases = append(cases, autobahn{number("7.13", i, code), script(closing(code, "")), wsframe.CloseProtocolError, 0})
	}
	playAll(t, cases)
}

// inFragments cuts a text into fragments of n bytes.
func inFragments(s string, n int) []wstest.Frame {
	frames := []wstest.Frame{begin(s[:n])}
	for s = s[n:]; len(s) > n; s = s[n:] {
		frames = append(frames, more(s[:n]))
	}
	return append(frames, last(s))
}

func TestAutobahn09Limits(t *testing.T) {
	t.Parallel()
	const limit = 65536
	var pings []act
	for range 119 { // the last of 120 a minute is the proof of life
		pings = append(pings, send(text("ping")), textPongs)
	}
	tooMany := append(pings[:len(pings):len(pings)], send(text("ping")), textPongs, send(text("ping")))
	cases := []autobahn{
		{"9.1.1 text of 64 KiB", script(send(text(repeated(limit)))), alive, 1},
		{"9.1.2 text of 64 KiB and a byte", script(send(text(repeated(limit + 1)))), wsframe.CloseTooBig, 0},
		{"9.1.3 text of 1 MiB", script(send(text(repeated(1 << 20)))), wsframe.CloseTooBig, 0},
		{"9.1.4 text of 2^63 bytes, only announced", script(send(wstest.Frame{Fin: true, Op: wsframe.OpText, Announced: 1 << 63})), wsframe.CloseTooBig, 0},
		{"9.2.1 binary of 64 KiB", script(send(whole(wsframe.OpBinary, repeated(limit)))), wsframe.CloseUnsupported, 0},
		{"9.2.2 binary of 1 MiB", script(send(whole(wsframe.OpBinary, repeated(1<<20)))), wsframe.CloseUnsupported, 0},
		{"9.7.1 120 texts, one after the other", pings, alive, 0},
		{"9.7.2 more texts than a minute allows", tooMany, taskfeed.CloseTooMany, 0},
	}
	for i, size := range []int{64, 256, 1 << 10, 4 << 10, 16 << 10} {
		cases = append(cases,
			autobahn{fmt.Sprintf("9.3.%d text of 64 KiB in fragments of %d", i+1, size), script(send(inFragments(repeated(limit), size)...)), alive, 1},
			autobahn{fmt.Sprintf("9.3.%d text of more than 64 KiB in fragments of %d", i+1, size), script(send(inFragments(repeated(limit+size), size)...)), wsframe.CloseTooBig, 0})
	}
	for i, size := range []int{64, 128, 256, 512, 1024, 2048} {
		cases = append(cases, autobahn{fmt.Sprintf("9.5.%d text of 64 KiB in writes of %d", i+1, size), script(chop(size, text(repeated(limit)))), alive, 1})
	}
	playAll(t, append(cases,
		autobahn{"10.1.1 text of 64 KiB in fragments of 1300", script(send(inFragments(repeated(limit), 1300)...)), alive, 1}))
}

// Groups 12 and 13: whatever compression a client offers, none is negotiated, so
// it can use none.
func TestAutobahn12And13Compression(t *testing.T) {
	t.Parallel()
	f := serve(t)
	for i, offer := range []string{
		"permessage-deflate",
		"permessage-deflate; client_no_context_takeover",
		"permessage-deflate; server_no_context_takeover",
		"permessage-deflate; client_max_window_bits",
		"permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
		"permessage-deflate; client_no_context_takeover; client_max_window_bits, permessage-deflate",
		"permessage-deflate; server_max_window_bits=16",
		"x-webkit-deflate-frame",
	} {
		t.Run(offer, func(t *testing.T) {
			t.Parallel()
			deflated := frameOf(wsframe.OpText, 4, "\x2a\xc8\xcc\x4b\x07\x00") // ping, as an extension would send it
			for _, tc := range []autobahn{
				{"12 a text that is not compressed", script(send(text("ping")), textPongs), alive, 0},
				{"13 a text that is", script(send(deflated)), wsframe.CloseProtocolError, 0},
			} {
				c := f.dial(fmt.Sprint("deflate-", i), http.Header{"Sec-WebSocket-Extensions": {offer}})
				if got := c.Response.Header.Values("Sec-WebSocket-Extensions"); len(got) > 0 {
					t.Fatalf("extensions: got %q, want none", got)
				}
				tc.play(t, c)
			}
		})
	}
}
