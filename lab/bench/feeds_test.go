package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStamp(t *testing.T) {
	t.Parallel()
	b := &bench{epoch: time.Now()}
	due := b.epoch.Add(-3 * time.Second)
	late, ok := b.since([]byte(`{"id":1,"message":"` + b.stamp(due) + `"}`))
	if !ok || late < 3*time.Second {
		t.Errorf("since a stamp of 3 s ago: got %v, %v, want at least 3 s", late, ok)
	}
	for _, payload := range []string{"", `{"message":"step"}`, "a@b", "@@", "@x@", "@1"} {
		if late, ok := b.since([]byte(payload)); ok {
			t.Errorf("since %q: got %v, want nothing", payload, late)
		}
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	b := &bench{epoch: time.Now()}
	tally := b.newTally()
	arrive := func(late time.Duration) { tally.arrive([]byte(b.stamp(time.Now().Add(-late)))) }
	arrive(10 * time.Millisecond)
	tally.arrive([]byte("no event of ours"))
	arrive(time.Hour) // beyond what the histogram holds
	if err := tally.wait(t.Context(), 2); err != nil {
		t.Fatalf("wait for two that have come: %v", err)
	}
	if got := tally.quantile(50); got < 10 || got > 5000 {
		t.Errorf("p50: got %v ms, want about 10", got)
	}
	if got := tally.toLast(); got < time.Hour {
		t.Errorf("last value: got %v, want an hour", got)
	}
	tally.begin()
	done := make(chan error, 1)
	go func() { done <- tally.wait(t.Context(), 1) }()
	arrive(0)
	if err := <-done; err != nil {
		t.Errorf("wait for one that comes: %v", err)
	}
	tally.begin()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tally.wait(ctx, 9); !errors.Is(err, context.Canceled) {
		t.Errorf("wait without hope: got %v, want that it was cancelled", err)
	}
}

// frames of all lengths are read, pings are answered, and a close ends the feed.
func TestFeedRead(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer ours.Close()
	f := &feed{conn: ours, in: bufio.NewReaderSize(ours, 256)}
	long := strings.Repeat("x", 300)
	pongs := make(chan []byte, 1)
	go func() {
		defer theirs.Close()
		_, _ = theirs.Write([]byte("\x81\x05hello\x89\x02hi")) // the pipe ends with the test
		pong := make([]byte, 8)
		_, _ = io.ReadFull(theirs, pong)
		pongs <- pong
		_, _ = theirs.Write(append([]byte("\x81\x7e\x01\x2c"), long...))
		_, _ = theirs.Write([]byte("\x88\x02\x0f\xa1"))
	}()
	var got []string
	err := f.read(func(payload []byte) error { got = append(got, string(payload)); return nil })
	if want := []string{"hello", long}; !slices.Equal(got, want) {
		t.Errorf("messages: got %q, want %q", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), "0f a1") {
		t.Errorf("after a close: got %v, want an error that shows it", err)
	}
	if pong, want := <-pongs, []byte("\x8a\x82\x00\x00\x00\x00hi"); !bytes.Equal(pong, want) {
		t.Errorf("pong: got % x, want % x", pong, want)
	}
}
