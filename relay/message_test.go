package relay

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

var ours = Lineage{ID: [16]byte{1, 2, 3}, Epoch: 7}

func frame(id taskfeed.Cursor, user, body string) hub.Frame {
	return hub.Frame{ID: id, UserID: user, TaskID: "t1", Type: taskfeed.TypeTaskProgress, Timestamp: time.UnixMicro(1_800_000_000_123_456), Bytes: []byte(body)}
}

func decode(t *testing.T, message []byte) batch {
	t.Helper()
	k, d, err := open(message)
	if err != nil || k != kindBatch {
		t.Fatalf("open: kind %d, %v", k, err)
	}
	b, count := decodeBatchHead(d)
	if err := b.decodeFrames(d, count, nil); err != nil {
		t.Fatalf("decode: %v", err)
	}
	return b
}

func TestABatchIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	for _, compress := range []bool{true, false} {
		want := batch{lineage: ours, from: 10, to: 99, at: time.UnixMicro(5), frames: []hub.Frame{
			frame(11, "alice", strings.Repeat("a", 500)), frame(13, "", "{}"), frame(99, "team", strings.Repeat("a", 500))}}
		message := want.encode(compress)
		if got := decode(t, message); !reflect.DeepEqual(got, want) {
			t.Errorf("compress %t: got %+v, want %+v", compress, got, want)
		}
		if small := len(message) < 500; small != compress {
			t.Errorf("compress %t: %d bytes", compress, len(message))
		}
	}
}

func TestAnEmptyBatchSaysThatThereIsNothing(t *testing.T) {
	t.Parallel()
	want := batch{lineage: ours, from: 10, to: 1_000_010, at: time.UnixMicro(5), frames: []hub.Frame{}}
	got := decode(t, want.encode(true))
	if got.from != want.from || got.to != want.to || len(got.frames) != 0 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The parts follow each other without a gap, and each has the frames of its interval.
func TestSplit(t *testing.T) {
	t.Parallel()
	whole := batch{lineage: ours, from: 10, to: 50, frames: []hub.Frame{
		frame(11, "alice", strings.Repeat("a", 300)), frame(12, "alice", strings.Repeat("a", 300)),
		frame(20, "alice", strings.Repeat("a", 5000)), frame(21, "alice", "{}"), frame(22, "alice", "{}")}}
	parts := whole.split(1000)
	var frames []hub.Frame
	at := whole.from
	for _, p := range parts {
		if p.from != at || p.to < p.from || len(p.frames) == 0 || p.frames[0].ID <= p.from || p.frames[len(p.frames)-1].ID > p.to {
			t.Errorf("part (%d, %d] with %d frames, want it to begin at %d", p.from, p.to, len(p.frames), at)
		}
		if size := sizeOf(p.frames); size > 1000 && len(p.frames) > 1 {
			t.Errorf("part (%d, %d] has %d bytes, want at most 1000", p.from, p.to, size)
		}
		at = p.to
		frames = append(frames, p.frames...)
	}
	if at != whole.to || !reflect.DeepEqual(frames, whole.frames) || len(parts) != 3 {
		t.Errorf("%d parts up to %d with %d frames, want 3 up to %d with %d", len(parts), at, len(frames), whole.to, len(whole.frames))
	}
}

func TestTheSizeIsAnUpperBound(t *testing.T) {
	t.Parallel()
	b := batch{lineage: ours, from: 0, to: taskfeed.MaxID, frames: []hub.Frame{frame(taskfeed.MaxID, "", "")}}
	b.frames[0].Timestamp = time.Unix(253402300799, 0)
	if got, most := len(b.encode(false)), sizeOf(b.frames)+frameOverhead; got > most {
		t.Errorf("the message has %d bytes, want at most %d", got, most)
	}
}

func TestMessagesOfOthersAreRefused(t *testing.T) {
	t.Parallel()
	b := batch{lineage: ours, from: 1, to: 2, frames: []hub.Frame{}}
	good := b.encode(false)
	for v := oldestVersion; v <= version; v++ {
		readable := bytes.Clone(good)
		readable[2] = byte(v)
		if _, _, err := open(readable); err != nil {
			t.Errorf("version %d: %v, want it to be read", v, err)
		}
	}
	later := bytes.Clone(good)
	later[2] = version + 1
	if _, _, err := open(later); !isVersion(err, version+1) || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("a later version: %v, want an error that says what to do", err)
	}
	for _, message := range [][]byte{nil, []byte("hi"), []byte(`{"type":"x"}`)} {
		if _, _, err := open(message); !errors.Is(err, errForeign) {
			t.Errorf("%q: %v, want errForeign", message, err)
		}
	}
}

func isVersion(err error, v int) bool {
	e, ok := errors.AsType[*VersionError](err)
	return ok && e.Version == v
}

func TestQuestionsAndAnswersAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	q := question{topic: askAfter, after: 77, limit: 500, filter: taskfeed.Filter{UserID: "alice", Feeds: []string{"team", "org"}, TaskID: "t", Types: []taskfeed.Type{"a", "b"}}}
	if got, err := decodeQuestion(q.encode()); err != nil || !reflect.DeepEqual(got, q) {
		t.Errorf("got %+v, %v, want %+v", got, err, q)
	}
	before := q.encode() // as the version before writes it
	q.filter.Compact = true
	if got, err := decodeQuestion(q.encode()); err != nil || !reflect.DeepEqual(got, q) || len(q.encode()) != len(before)+1 {
		t.Errorf("got %+v, %v, want %+v, in one byte more", got, err, q)
	}
	for _, compress := range []bool{true, false} {
		a := sampleAnswer()
		if got, err := decodeAnswer(a.encode(compress)); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("got %+v, %v, want %+v", got, err, a)
		}
	}
	for _, bad := range []question{{topic: askAfter, limit: 5}, {topic: askAfter, limit: 5, after: -1, filter: q.filter}, {topic: askAfter, filter: q.filter}} {
		if _, err := decodeQuestion(bad.encode()); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

func sampleAnswer() answer {
	return answer{state: State{Lineage: ours, Last: 99, Head: 120}, recent: 40, number: -3,
		page: Page{Through: 99, More: true, Events: []taskfeed.Event{
			{ID: 78, UserID: "alice", TaskID: "t", Type: "task_started", Version: 3, Data: []byte(`{"a":1}`), Timestamp: time.UnixMicro(9)},
			{ID: 90, Type: "notice", Data: []byte(`{}`), Timestamp: time.UnixMicro(-9)}}},
		commands: []taskfeed.Command{{ID: 5, Kind: taskfeed.CommandDisconnectUser, Argument: "bob", CreatedAt: time.UnixMicro(1)}}}
}

// FuzzMessage: whatever comes, reading it ends with an error or with something that is
// the same when it is written and read again.
func FuzzMessage(f *testing.F) {
	b := batch{lineage: ours, from: 10, to: 99, at: time.UnixMicro(5), frames: []hub.Frame{frame(11, "alice", "{}"), frame(99, "", "{}")}}
	a := sampleAnswer()
	q := question{topic: askAfter, after: 77, limit: 500, filter: taskfeed.Filter{UserID: "alice", Feeds: []string{"team"}, Types: []taskfeed.Type{"a"}}}
	said := beacon{lineage: ours, server: "core-1", sent: 5, head: 6, at: time.UnixMicro(7)}
	for _, seed := range [][]byte{b.encode(true), b.encode(false), a.encode(true), a.encode(false), q.encode(), said.encode(), {}, []byte("TF")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		k, d, err := open(message)
		if err != nil {
			return
		}
		switch k {
		case kindBatch:
			b, count := decodeBatchHead(d)
			if d.failed || b.decodeFrames(d, count, nil) != nil {
				return
			}
			again := decode(t, b.encode(true))
			if len(b.frames) != len(again.frames) || len(b.frames) > 0 && !reflect.DeepEqual(again, b) {
				t.Errorf("got %+v when read again, want %+v", again, b)
			}
		case kindBeacon:
			b, err := decodeBeacon(d)
			if err == nil && !bytes.Equal(reopen(t, b.encode()).encode(), b.encode()) {
				t.Errorf("beacon %+v changes", b)
			}
		case kindQuestion:
			q, err := decodeQuestion(message)
			if again, err2 := decodeQuestion(q.encode()); err == nil && (err2 != nil || !reflect.DeepEqual(again, q)) {
				t.Errorf("got %+v, %v when read again, want %+v", again, err2, q)
			}
		case kindAnswer:
			a, err := decodeAnswer(message)
			if again, err2 := decodeAnswer(a.encode(false)); err == nil && (err2 != nil || !bytes.Equal(again.encode(false), a.encode(false))) {
				t.Errorf("got %+v, %v when read again, want %+v", again, err2, a)
			}
		}
	})
}

func reopen(t *testing.T, message []byte) *beacon {
	t.Helper()
	_, d, err := open(message)
	if err != nil {
		t.Fatal(err)
	}
	b, err := decodeBeacon(d)
	if err != nil {
		t.Fatal(err)
	}
	return &b
}
