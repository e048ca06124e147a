// Package client is the Go client of taskfeed. A [Feed] hands one user's events
// to a handler, each exactly once and in order, over as many connections as it
// takes.
//
// # Model
//
// The feed is a cursor: the ID of the last event that the handler has dealt
// with. Run connects with it, hands out every event with a greater ID (the
// client rule), and saves the cursor in the [CursorStore] after the handler
// returned. When the connection ends, for whatever reason, Run connects again
// with the cursor, after a wait that grows from Backoff.Min to Backoff.Max with
// full jitter. A server that restarts (1012) or closed a slow client (4008) is
// tried again soon; one that says when to come back (429, 503 with Retry-After)
// is obeyed.
//
// Run ends by itself only where trying again cannot help: the token was refused
// twice ([ErrRejected]), it is another user's ([ErrForbidden]), an operator
// closed the connection ([ErrDisconnected]), the request is wrong
// ([ErrRefused]), or what arrives is not the protocol ([ErrProtocol]).
//
// When the log no longer keeps the events after the cursor, or the cursor is
// ahead of the log, the server says so with a reset: Config.OnReset reads the
// tasks again, and the feed goes on from the reset's cursor. Nothing is ever
// left out silently.
//
// Connections are kept alive by pings from both sides, so a peer that vanished
// is noticed within Config.PeerTimeout. A token that is a JWT is renewed over
// the open connection before it expires.
//
// # What is not promised
//
// Exactly once holds as far as the cursor store is as durable as the handler's
// own effects: if the process dies after the handler returned and before the
// cursor was saved, that one event comes again. A handler that must not see it
// twice writes the cursor in the transaction of its effects, and its CursorStore
// loads it from there. Events of two feeds have no common order in time.
package client
