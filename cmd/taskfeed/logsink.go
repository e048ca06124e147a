package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	sinkLines = 4096        // lines that may wait to be written
	sinkFlush = time.Second // how long Close waits for the last of them
)

// sink passes the lines of the log to a writer and never waits for it: a pipe that
// nobody reads must not block a server. Lines for which there is no room are lost; their
// number is logged when there is room again. It is safe for concurrent use.
type sink struct {
	out   io.Writer
	note  *slog.Logger // writes to out
	lines chan []byte
	lost  atomic.Int64
	quit  chan struct{}
	ended chan struct{}
}

// newSink returns a sink for the lines of a logger with this configuration. The caller
// closes it.
func newSink(out io.Writer, cfg logConfig) *sink {
	s := &sink{out: out, note: newLogger(out, cfg), lines: make(chan []byte, sinkLines),
		quit: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s
}

// Unwrap returns the writer.
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
		s.note.Warn("lines of the log were lost: its reader was too slow", "count", n)
	}
	_, _ = s.out.Write(line) // there is nowhere else to report that the log cannot be written
}

// Close writes the lines that wait, for at most sinkFlush. Later lines are lost.
func (s *sink) Close() {
	close(s.quit)
	timer := time.NewTimer(sinkFlush)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}
