// Package httpapi is the edge of taskfeed: WebSocket, server-sent events, REST,
// health and metrics over HTTP/1.1, with every URL in routes.go, who may see what
// in access.go, and the contract with clients in package contract.
//
// # A socket
//
// A connection to /ws/{user_id} is checked, given a place in the hub and
// upgraded; then its handler returns, so that nothing of the request stays in
// memory. What remains is a [socket]: one goroutine that reads, and, only while
// there is something to write, one that writes events and one that writes
// control frames. A socket has no queue: its place in the hub is a cursor, and
// events that cannot be written yet wait in the log.
//
// gorilla/websocket does the handshake. Frames are read and written by
// internal/wsframe: gorilla's reader hides empty fragments and close frames of one
// byte, both of which must be answered, and its writer makes one system call of
// each frame where a replay wants one for many.
//
// # A stream
//
// A stream of server-sent events is for clients that cannot use WebSocket: the
// same feed, the same cursor, the same limits. Its handler stays and writes, so it
// costs a few times what a socket does.
//
// # REST
//
// A handler reads its parameters, which thereby are the known ones, and asks
// History, so that every refusal of a parameter is made here and names it. Lists
// are pages by key or, asked for as NDJSON or CSV, exports that are written while
// they are read.
//
// # Who waits for whom
//
// [Server.Run] owns all: it waits for the sockets and the streams, each socket's
// reader waits for that socket's writers. A sweeper sends pings and ends what is dead or
// expired; it never writes itself, so no slow peer holds it up.
//
// # What it does not promise
//
// TLS and HTTP/2 belong to the proxy in front. An open socket is no proof that
// its peer is alive until the next pong is due. Limits count this server's
// connections alone.
package httpapi
