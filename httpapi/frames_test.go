package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/internal/wsframe"
	"github.com/taskfeed/taskfeed/lab/wstest"
)

// fragments returns a text message in pieces, the last of which is final.
func fragments(pieces ...string) []wstest.Frame {
	var frames []wstest.Frame
	for i, piece := range pieces {
		f := wstest.Frame{Fin: i == len(pieces)-1, Payload: []byte(piece)}
		if i == 0 {
			f.Op = wsframe.OpText
		}
		frames = append(frames, f)
	}
	return frames
}

func TestBadFrames(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	const tooLong = 64<<10 + 1
	long := make([]byte, tooLong)
	frame := func(f wstest.Frame) []wstest.Frame { return []wstest.Frame{f} }

	for _, tc := range []struct {
		name   string
		frames []wstest.Frame
		code   int
	}{
		{"bad input 27: binary message", frame(wstest.Frame{Fin: true, Op: wsframe.OpBinary, Payload: []byte("a")}), 1003},
		{"bad input 27: fragmented binary message", frame(wstest.Frame{Op: wsframe.OpBinary}), 1003},

		{"bad input 28: invalid UTF-8", frame(wstest.Text("a\xffb")), 1007},
		{"bad input 28: code point cut off", frame(wstest.Text("a\xe2\x82")), 1007},
		{"bad input 28: overlong encoding", frame(wstest.Text("\xc0\xaf")), 1007},
		{"bad input 28: surrogate", frame(wstest.Text("\xed\xa0\x80")), 1007},
		{"bad input 28: beyond Unicode", frame(wstest.Text("\xf4\x90\x80\x80")), 1007},
		{"bad input 28: invalid over two fragments", fragments("\xe2", "\xff"), 1007},

		{"bad input 29: one frame over the limit", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Payload: long}), 1009},
		{"bad input 29: over the limit, only announced", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Announced: tooLong}), 1009},
		{"bad input 29: over the limit in 10,000 fragments", fragments(strings.Split(strings.Repeat("1234567,", 10_000), ",")...), 1009},
		{"bad input 29: length 2^63", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Announced: 1 << 63}), 1009},
		{"bad input 29: length 2^64-1", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Announced: 1<<64 - 1}), 1009},
		{"bad input 29: continuation of length 2^63-1", []wstest.Frame{{Op: wsframe.OpText, Payload: []byte("a")},
			{Fin: true, Announced: 1<<63 - 1}}, 1009},

		{"bad input 30: RSV1", frame(wstest.Frame{Fin: true, RSV: 4, Op: wsframe.OpText}), 1002},
		{"bad input 30: RSV2", frame(wstest.Frame{Fin: true, RSV: 2, Op: wsframe.OpText}), 1002},
		{"bad input 30: RSV3", frame(wstest.Frame{Fin: true, RSV: 1, Op: wsframe.OpPing}), 1002},
		{"bad input 30: opcode 3", frame(wstest.Frame{Fin: true, Op: 3}), 1002},
		{"bad input 30: opcode 7", frame(wstest.Frame{Fin: true, Op: 7}), 1002},
		{"bad input 30: opcode 11", frame(wstest.Frame{Fin: true, Op: 11}), 1002},
		{"bad input 30: opcode 15", frame(wstest.Frame{Fin: true, Op: 15}), 1002},
		{"bad input 30: unmasked", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Unmasked: true, Payload: []byte("ping")}), 1002},
		{"bad input 30: unmasked close", frame(wstest.Frame{Fin: true, Op: wsframe.OpClose, Unmasked: true}), 1002},
		{"bad input 30: ping over 125", frame(wstest.Ping(strings.Repeat("a", 126))), 1002},
		{"bad input 30: close over 125", frame(wstest.Close(1000, strings.Repeat("a", 124))), 1002},
		{"bad input 30: fragmented ping", frame(wstest.Frame{Op: wsframe.OpPing}), 1002},
		{"bad input 30: lone continuation", frame(wstest.Frame{Fin: true, Payload: []byte("a")}), 1002},
		{"bad input 30: continuation after the end", append(fragments("pi", "ng"), wstest.Frame{Fin: true}), 1002},
		{"bad input 30: new message inside another", []wstest.Frame{{Op: wsframe.OpText}, wstest.Text("a")}, 1002},
		{"bad input 30: length of 2 bytes for 5", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Payload: []byte("hello"), LengthBytes: 2}), 1002},
		{"bad input 30: length of 8 bytes for 300", frame(wstest.Frame{Fin: true, Op: wsframe.OpText, Payload: long[:300], LengthBytes: 8}), 1002},

		{"bad input 31: close frame of one byte", frame(wstest.Frame{Fin: true, Op: wsframe.OpClose, Payload: []byte{3}}), 1002},
		{"bad input 31: reason that is not UTF-8", frame(wstest.Close(1000, "\xff")), 1002},

		{"bad input 34: compressed bomb", frame(wstest.Frame{Fin: true, RSV: 4, Op: wsframe.OpText, Payload: long[:60_000]}), 1002},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := f.dialRaw("mallory-" + fmt.Sprint(len(tc.name)%7))
			var b []byte
			for _, frame := range tc.frames {
				b = append(b, frame.Bytes()...)
			}
			_ = c.TryBytes(b) // the answer may come before all is sent
			c.ExpectClose(tc.code)
			c.Send(wstest.Close(tc.code, ""))
			c.ExpectEnd()
		})
	}
	for _, code := range []int{0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535} {
		t.Run(fmt.Sprintf("bad input 31: close code %d", code), func(t *testing.T) {
			t.Parallel()
			c := f.dialRaw(fmt.Sprint("mallory-", code))
			c.Send(wstest.Close(code, ""))
			c.ExpectClose(1002)
			c.ExpectEnd()
		})
	}
}

func TestGoodFrames(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})

	t.Run("a message in fragments with pings between them", func(t *testing.T) {
		t.Parallel()
		c := f.dialRaw("alice")
		parts := fragments("p", "", "in", "g")
		c.Send(parts[0], wstest.Ping("one"))
		if got := c.Read(); got.Op != wsframe.OpPong || string(got.Payload) != "one" {
			t.Errorf("frame %#x %q, want a pong with one", got.Op, got.Payload)
		}
		c.Send(parts[1:]...)
		if got := c.Read(); got.Op != wsframe.OpText || string(got.Payload) != "pong" {
			t.Errorf("frame %#x %q, want the text pong", got.Op, got.Payload)
		}
	})

	t.Run("frames byte by byte", func(t *testing.T) {
		t.Parallel()
		c := f.dialRaw("bob")
		for _, b := range append(wstest.Ping(strings.Repeat("x", 125)).Bytes(), wstest.Text("ping").Bytes()...) {
			c.SendBytes([]byte{b})
		}
		if got := c.Read(); got.Op != wsframe.OpPong || len(got.Payload) != 125 {
			t.Errorf("frame %#x with %d bytes, want a pong with 125", got.Op, len(got.Payload))
		}
		if got := c.Read(); string(got.Payload) != "pong" {
			t.Errorf("frame %#x %q, want the text pong", got.Op, got.Payload)
		}
	})

	t.Run("every text ping of a burst is answered", func(t *testing.T) {
		t.Parallel()
		c := f.dialRaw("dave")
		for range 50 {
			c.Send(wstest.Text("ping"))
		}
		for i := range 50 {
			if got := c.Read(); string(got.Payload) != "pong" {
				t.Fatalf("answer %d is %#x %q, want the text pong", i, got.Op, got.Payload)
			}
		}
	})

	t.Run("a message of the maximum size, split inside a code point", func(t *testing.T) {
		t.Parallel()
		c := f.dialRaw("carol")
		text := strings.Repeat("€", 64<<10/3)
		c.Send(fragments(text[:40_000], text[40_000:])...)
		c.Send(wstest.Text("ping"))
		if got := c.Read(); string(got.Payload) != "pong" {
			t.Errorf("frame %#x %q, want the text pong", got.Op, got.Payload)
		}
	})

	for _, code := range []int{1000, 1001, 1003, 1007, 1011, 1014, 3000, 4000, 4999} {
		t.Run(fmt.Sprintf("close code %d is answered in kind", code), func(t *testing.T) {
			t.Parallel()
			c := f.dialRaw(fmt.Sprint("closer-", code))
			c.Send(wstest.Close(code, "bye"), wstest.Text("ping"))
			c.ExpectClose(code)
			c.ExpectEnd()
		})
	}
	t.Run("an empty close frame is answered by one", func(t *testing.T) {
		t.Parallel()
		c := f.dialRaw("closer")
		c.Send(wstest.Frame{Fin: true, Op: wsframe.OpClose})
		c.ExpectClose(1005)
		c.ExpectEnd()
	})
}

func TestBadInput32Floods(t *testing.T) {
	t.Parallel()
	for name, frame := range map[string]wstest.Frame{
		"pings":           wstest.Ping("x"),
		"pongs":           {Fin: true, Op: wsframe.OpPong},
		"empty fragments": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := serve(t, setup{})
			other := f.dial("alice")
			c := f.dialRaw("alice")
			if frame.Op == wsframe.OpContinuation {
				c.Send(wstest.Frame{Op: wsframe.OpText})
			}
			id := f.log.add("alice", "hello", `{}`)[0]
			flood := strings.Repeat(string(frame.Bytes()), 10_000)
			_ = c.TryBytes([]byte(flood)) // the server may have had enough before the end
			c.ExpectClose(taskfeed.CloseTooMany)
			other.ExpectEvent(id)
			other.ExpectQuiet()
		})
	}
}

func TestBadInput33Closing(t *testing.T) {
	t.Parallel()
	quick := Config{CloseTimeout: 100 * time.Millisecond}
	t.Run("data after the close frame", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := f.dialRaw("alice")
		c.Send(wstest.Close(1000, ""), wstest.Text("ping"), wstest.Ping(""), wstest.Frame{Op: 15})
		c.ExpectClose(1000)
		c.ExpectEnd()
		f.awaitEnd(1)
	})
	t.Run("half-closed by the peer", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := f.dialRaw("alice")
		if err := c.Conn.CloseWrite(); err != nil {
			t.Fatalf("close write: %v", err)
		}
		c.ExpectEnd()
		f.awaitEnd(1)
	})
	t.Run("our close frame is never answered", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := f.dialRaw("alice")
		f.eventually("it is open", func() bool { return f.feeds.DisconnectUser("alice") == 1 })
		f.awaitEnd(1)
		c.ExpectClose(taskfeed.CloseDisconnected)
		c.ExpectEnd()
	})
	t.Run("the peer sends on after our close frame", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := f.dialRaw("alice")
		c.Send(wstest.Frame{Fin: true, RSV: 1, Op: wsframe.OpText})
		noise := make([]byte, 64<<10)
		for c.TryBytes(noise) == nil {
		}
		f.awaitEnd(1)
	})
	t.Run("a peer that disconnects inside a frame", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := f.dialRaw("alice")
		c.SendBytes(wstest.Text("ping").Bytes()[:7])
		if err := c.Conn.SetLinger(0); err != nil { // so that Close resets
			t.Fatalf("set linger: %v", err)
		}
		if err := c.Conn.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
		f.awaitEnd(1)
	})
	t.Run("a refused peer that stays", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{cfg: quick})
		c := wstest.DialRaw(t, f.url+"/ws/alice", http.Header{})
		c.ExpectClose(taskfeed.CloseBadToken)
		c.ExpectEnd()
		f.awaitEnd(1)
	})
}

// TestBadInput35To38Messages is bad input 35, JSON that is not what we know, and
// bad input 38, text that is not JSON: both are ignored and counted.
func TestBadInput35To38Messages(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	c := f.dial("alice")
	ignored := []string{
		"", " ", "ping ", "PING", "pong", "\x00", "[]", `["auth"]`, "7", "null", "true", `"ping"`, "{", "{}", `{"type":7}`, `{"type":null}`,
		`{"type":"auth"`, `{"type":"auth"}x`, `{"type":"AUTH","token":"x"}`, `{"type":"subscribe","channel":"x"}`, `{"type":"auth","token":7}`,
		`{"type":"x","type":"y"}`, strings.Repeat("[", 1000), strings.Repeat(`{"a":`, 10_001), `{"type":"ping","extra":{"deep":[1,{"x":null}]}}`,
		"<script>", "日本語", "\U0001f600",
	}
	for _, message := range ignored {
		c.Send(message)
	}
	c.ExpectQuiet()
	if got := f.metric("taskfeed_inbound_ignored_total"); got != float64(len(ignored)) {
		t.Errorf("%v messages are counted as ignored, want %d", got, len(ignored))
	}
}

func TestBadInput36TooManyMessages(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{cfg: Config{MessagesPerMinute: 10}})
	c := f.dial("alice")
	for range 10 {
		c.ExpectQuiet()
	}
	c.Send("ping")
	c.ExpectClose(taskfeed.CloseTooMany)
}

func TestBadInput62Disconnect(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	first, second, other := f.dial("alice"), f.dial("alice"), f.dial("bob")
	for _, c := range []*wstest.Client{first, second, other} {
		c.ExpectQuiet() // it is listed now
	}
	for _, c := range f.connections() {
		if c.UserID == "bob" && !f.feeds.Disconnect(c.ID) {
			t.Errorf("Disconnect(%q) found nothing", c.ID)
		}
	}
	other.ExpectClose(taskfeed.CloseDisconnected)
	if got := f.feeds.DisconnectUser("alice"); got != 2 {
		t.Errorf("DisconnectUser found %d connections, want 2", got)
	}
	first.ExpectClose(taskfeed.CloseDisconnected)
	second.ExpectClose(taskfeed.CloseDisconnected)
	for _, id := range []string{"", "x", f.feeds.ServerID(), f.feeds.ServerID() + "-0", f.feeds.ServerID() + "-x", "-1"} {
		if f.feeds.Disconnect(id) {
			t.Errorf("Disconnect(%q) found a connection", id)
		}
	}
	if got := f.feeds.DisconnectUser("alice"); got != 0 {
		t.Errorf("DisconnectUser found %d connections, want 0", got)
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	f := serve(t, setup{})
	c := f.dial("alice", "after=0")
	c.ExpectLive(0)
	id := f.log.add("alice", taskfeed.TypeTaskQueued, `{}`)[0]
	c.ExpectEvent(id)
	f.eventually("the bytes and the cursor are counted", func() bool {
		got := f.connections()[0]
		return got.BytesSent > 100 && got.Cursor == id
	})
	list := f.connections()
	if len(list) != 1 {
		t.Fatalf("%d connections, want 1", len(list))
	}
	got := list[0]
	if got.UserID != "alice" || got.Transport != "websocket" || got.RemoteAddr != "127.0.0.1" || got.Cursor != id {
		t.Errorf("connection %+v, want alice's by websocket from 127.0.0.1 at cursor %d", got, id)
	}
	if !strings.HasPrefix(got.ID, f.feeds.ServerID()+"-") || time.Since(got.Since) > time.Minute || got.Since.After(time.Now()) {
		t.Errorf("connection %s since %v, want this server's and since a moment", got.ID, got.Since)
	}
	c.Close(websocket.CloseNormalClosure)
	f.eventually("the connection is removed", func() bool { return len(f.connections()) == 0 })
}
