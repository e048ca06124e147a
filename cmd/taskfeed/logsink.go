package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	sinkLines = 4096        // that wait to be written
	sinkFlush = time.Second // that the last of them have at the end
)

// sink hands the lines of the log to a writer and never waits for it: a pipe that
// nobody reads must not hold up a server. Lines for which there is no room are
// lost, and their number is logged when there is room again. It is safe for
// concurrent use.
type sink struct {
	out   io.Writer
	note  *slog.Logger // writes to out
	lines chan []byte
	lost  atomic.Int64
	quit  chan struct{}
	ended chan struct{}
}

// newSink returns a sink for the lines that a logger with this configuration
// makes. Its owner closes it.
func newSink(out io.Writer, cfg logConfig) *sink {
	s := &sink{out: out, note: newLogger(out, cfg), lines: make(chan []byte, sinkLines),
		quit: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s
}

// Unwrap returns what the sink writes to.
func (s *sink) Unwrap() io.Writer { return s.out }

// Write takes one line. It never fails.
func (s *sink) Write(line []byte) (int, error) {
	select {
	case s.lines <- bytes.Clone(line):
	default:
		s.lost.Add(1)
	}
	return len(line), nil
}

func (s *sink) run() {
	defer close(s.ended)
	for {
		select {
		case line := <-s.lines:
			s.put(line)
		case <-s.quit:
			for len(s.lines) > 0 {
				s.put(<-s.lines)
			}
			return
		}
	}
}

func (s *sink) put(line []byte) {
	if n := s.lost.Swap(0); n > 0 {
		s.note.Warn("lines of the log were lost: whoever reads it was too slow", "count", n)
	}
	_, _ = s.out.Write(line) // there is nowhere else to say that the log cannot be written
}

// Close writes what waits, but not for long. Lines that come later are lost.
func (s *sink) Close() {
	close(s.quit)
	timer := time.NewTimer(sinkFlush)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}
