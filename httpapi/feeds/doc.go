// Package feeds serves feeds over WebSocket and server-sent events.
//
// # A socket
//
// A WebSocket connection is checked, reserves a place in the hub and is upgraded;
// then its handler returns, so that nothing of the request stays in memory. What
// remains is a [socket]: one goroutine that reads, and, only while there is
// something to write, one that writes events and one that writes control frames. A
// socket has no queue: its place in the hub is a cursor, and events that cannot be
// written yet wait in the log.
//
// gorilla/websocket does the handshake alone. Wire frames are read and written by
// internal/wsframe: gorilla's reader hides empty fragments and close frames of one
// byte, both of which must be answered, and its writer makes one system call for
// each frame where a replay wants one for many.
//
// # A stream
//
// A stream is an SSE connection, for clients that cannot use WebSocket: the same
// feed, the same cursor, the same limits. Its handler stays and writes, so a stream
// takes several times the memory of a socket.
//
// # Who waits for whom
//
// The registry counts connections while they have a goroutine; [Feeds.Idle] tells
// when none has. A socket's reader waits for its writers. [Feeds.Sweep] sends pings
// and ends connections that are dead or expired; it never writes itself, so a slow
// peer cannot delay it.
//
// # What it does not promise
//
// An open connection is no proof that its peer is alive until the next pong is due.
// Limits count the connections of this server alone.
package feeds
