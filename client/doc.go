// Package client is the Go client of taskfeed. A [Feed] passes one user's events to a
// handler, each exactly once and in order, over as many connections as needed.
//
// # Model
//
// The feed is a cursor: the ID of the last event that the handler has handled. Run
// connects with it, passes on every event with a greater ID (the client rule), and saves
// the cursor in the [CursorStore] after the handler has returned. When the connection
// ends, for whatever reason, Run connects again with the cursor. It waits before that;
// the wait grows from Backoff.Min to Backoff.Max with full jitter. After a restart of the
// server (1012), or when the server closed a slow client (4008), it connects again soon.
// If the server says when to come back (429, 503 with Retry-After), Run waits until then.
//
// Run ends by itself only when trying again cannot help: the token was refused twice
// ([ErrRejected]), it is another user's ([ErrForbidden]), an operator closed the
// connection ([ErrDisconnected]), the request is wrong ([ErrRefused]), or the server does
// not speak the protocol ([ErrProtocol]).
//
// When the log no longer keeps the events after the cursor, or the cursor is
// ahead of the log, the server sends a reset: Config.OnReset reads the tasks again, and
// the feed goes on from the reset's cursor. No event is skipped silently.
//
// Both sides send pings, so a lost peer is noticed within Config.PeerTimeout. A token that is a JWT is renewed over
// the open connection before it expires.
//
// [Feed.Send] sends the app a message over the same connection, and again over the next one
// until the server has answered.
//
// # What is not promised
//
// Exactly once depends on the cursor store: if the process dies after the handler has
// returned and before the cursor is saved, that one event comes again. A handler that
// must not see it twice writes the cursor in the same transaction as its effects, and its
// CursorStore loads it from there. Events of two feeds have no common order in time.
package client
