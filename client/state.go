package client

import "time"

// State is what a feed is doing.
type State string

// The states, in the order of a connection's life.
const (
	StateConnecting State = "connecting" // asking for a token, dialing
	StateReplaying  State = "replaying"  // connected, reading what was missed
	StateLive       State = "live"       // at the head of the log
	StateWaiting    State = "waiting"    // the connection ended, the next is due after Delay
	StateClosed     State = "closed"     // Run has ended
)

// StateChange is a change to a new state.
type StateChange struct {
	State State
	// Err is why the feed waits or closed; nil for an ordered stop.
	Err error
	// Delay is how long the feed waits in StateWaiting.
	Delay time.Duration
}
