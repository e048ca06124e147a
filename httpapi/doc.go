// Package httpapi is the HTTP edge of taskfeed: feeds, REST, health and metrics over
// HTTP/1.1. Every URL is in routes.go, and who may call it in access.go.
//
// The parts are packages of their own: request reads requests and writes answers,
// feeds serves WebSocket and server-sent events, rest answers the URLs of tasks and
// events, contract holds what the server publishes about its API. This package has
// the [Server] with its routes, middleware, health and metrics.
//
// [Server.Run] owns all of it: it waits for the requests and the connections.
//
// TLS and HTTP/2 belong to the proxy in front.
package httpapi
