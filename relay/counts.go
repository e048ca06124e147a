package relay

import "sync/atomic"

// Counts is what a gateway counts. All of it only grows.
type Counts struct {
	Applied   atomic.Uint64 // batches that were placed
	Old       atomic.Uint64 // batches with nothing new
	Early     atomic.Uint64 // batches after a gap; the gap and the batch are asked of a core
	Refused   atomic.Uint64 // messages that are malformed, of another log or of an old epoch
	Dropped   atomic.Uint64 // messages that came while the buffer was full
	Gaps      atomic.Uint64 // gaps that were filled
	GapEvents atomic.Uint64 // events that filled them
	Asked     atomic.Uint64 // questions that were answered
	AskErrors atomic.Uint64 // questions that were not
	Jumps     atomic.Uint64 // gaps that retention had reached
}
