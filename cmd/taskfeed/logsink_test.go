package main

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// A pipe that nobody reads blocks nobody. Lines that fit are not lost, and the others are
// counted.
func TestSinkThatIsBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		s := newSink(out, logConfig{level: "info", format: "json"})
		logger := newLogger(s, logConfig{level: "info", format: "json"})
		logger.Info("the first")
		synctest.Wait() // it is being written
		const more = 10
		for range sinkLines + more {
			logger.Info("one of many")
		}
		text := make(chan string)
		go func() {
			b, _ := io.ReadAll(in)
			text <- string(b)
		}()
		s.Close()
		out.Close()
		got := <-text
		if n := strings.Count(got, "one of many"); n != sinkLines {
			t.Errorf("%d lines came through, want the %d that fit", n, sinkLines)
		}
		if !strings.Contains(got, `"count":10}`) {
			t.Errorf("got no word of the %d lines that were lost, want one", more)
		}
	})
}

// Close does not wait for a pipe that nobody reads.
func TestSinkEndsThoughBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		in, out := io.Pipe()
		s := newSink(out, logConfig{level: "info", format: "text"})
		newLogger(s, logConfig{level: "info", format: "text"}).Info("nobody reads this")
		s.Close()
		in.Close() // lets the writer go
		<-s.ended
	})
}
