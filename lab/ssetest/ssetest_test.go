package ssetest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// TestParser covers the rules and the examples of the HTML standard.
func TestParser(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, stream string
		want         []Event
		lastID       string
		retry        time.Duration
		comments     int
	}{
		{name: "data of several lines", stream: "data: YHOO\ndata: +2\ndata: 10\n\n", want: []Event{{"message", "YHOO\n+2\n10", ""}}},
		{name: "comments and ids", stream: ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", comments: 1,
			want: []Event{{"message", "first event", "1"}, {"message", "second event", ""}, {"message", " third event", ""}}},
		{name: "empty data is an event, no data is none", stream: "data\n\ndata\ndata\n\ndata:", want: []Event{{"message", "", ""}, {"message", "\n", ""}}},
		{name: "one space is taken away", stream: "data:test\n\ndata: test\n\n", want: []Event{{"message", "test", ""}, {"message", "test", ""}}},
		{name: "an id alone is the last one", stream: "id: 7\n\n", lastID: "7"},
		{name: "an unfinished id is none", stream: "id: 7\n"},
		{name: "an id with NUL is none", stream: "id: 7\n\nid: 8\x00\n\n", lastID: "7"},
		{name: "types last for one event", stream: "event: a\ndata: 1\n\ndata: 2\n\n", want: []Event{{"a", "1", ""}, {"message", "2", ""}}},
		{name: "a type without data is forgotten", stream: "event: a\n\ndata: 2\n\n", want: []Event{{"message", "2", ""}}},
		{name: "all ends of lines", stream: "data: 1\r\rdata: 2\r\n\r\ndata: 3\n\n", want: []Event{{"message", "1", ""}, {"message", "2", ""}, {"message", "3", ""}}},
		{name: "no other character ends a line", stream: "data: a\u2028b\u2029c\u0085d\n\n", want: []Event{{"message", "a\u2028b\u2029c\u0085d", ""}}},
		{name: "one byte order mark at the beginning", stream: "\ufeffdata: \ufeff1\n\n\ufeffdata: 2\n\n", want: []Event{{"message", "\ufeff1", ""}}},
		{name: "retry", stream: "retry: 1500\nretry: +5\nretry: 1.5\nretry:\n\n", retry: 1500 * time.Millisecond},
		{name: "unknown fields", stream: "foo: bar\ndata : 1\nDATA: 1\n\n"},
		{name: "an unfinished event is none", stream: "data: 1\nid: 3\n"},
	} {
		for _, size := range []int{1, 3, 1000} {
			var p Parser
			for piece := range slices.Chunk([]byte(tc.stream), size) {
				_, _ = p.Write(piece) // it never fails
			}
			var got []Event
			for e, ok := p.Next(); ok; e, ok = p.Next() {
				got = append(got, e)
			}
			lastID := tc.lastID
			if len(tc.want) > 0 {
				lastID = tc.want[len(tc.want)-1].ID
			}
			if !slices.Equal(got, tc.want) || p.LastID != lastID || p.Retry != tc.retry || p.Comments != tc.comments {
				t.Errorf("%s in pieces of %d: %q, last id %q, retry %v, %d comments; want %q, %q, %v, %d",
					tc.name, size, got, p.LastID, p.Retry, p.Comments, tc.want, lastID, tc.retry, tc.comments)
			}
		}
	}
}

func FuzzParser(f *testing.F) {
	f.Add("id: 1\r\nevent: x\ndata: y\n\n", uint8(3))
	f.Fuzz(func(t *testing.T, stream string, size uint8) {
		var whole, pieces Parser
		_, _ = whole.Write([]byte(stream))
		for piece := range slices.Chunk([]byte(stream), int(size)+1) {
			_, _ = pieces.Write(piece)
		}
		if !slices.Equal(whole.events, pieces.events) || whole.LastID != pieces.LastID {
			t.Errorf("whole: %q; in pieces of %d: %q", whole.events, int(size)+1, pieces.events)
		}
		for _, e := range whole.events {
			if strings.ContainsAny(e.Type+e.ID, "\r\n") || strings.Contains(e.Data, "\r") {
				t.Errorf("%q holds the end of a line", e)
			}
		}
	})
}
