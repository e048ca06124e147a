package taskfeed

// Subprotocol is the WebSocket subprotocol that a client offers for frames of the
// protocol's own (feed_live, feed_reset), and the only one that a server selects.
const Subprotocol = "taskfeed.v1"

// BearerPrefix precedes a token that a client offers as a subprotocol. It is for
// browsers, which cannot set headers on a WebSocket handshake.
const BearerPrefix = "bearer."

// Codes of WebSocket close frames, besides those of RFC 6455. After a code from 4000
// to 4499 a client connects again with its cursor, unless the code says otherwise;
// after a code from 4500 on it does not.
const (
	// CloseBadToken: the token is missing, malformed, forged or expired. The client
	// connects again only with another token.
	CloseBadToken = 4001
	// CloseForbidden: the token belongs to another user. The client does not connect
	// again with it.
	CloseForbidden = 4003
	// CloseSlow: the client does not read what the server sends.
	CloseSlow = 4008
	// CloseNoPong: the client does not answer pings.
	CloseNoPong = 4009
	// CloseDisconnected: an administrator closed the connection. The client does not
	// connect again.
	CloseDisconnected = 4011
	// CloseTooMany: the client sent too many messages.
	CloseTooMany = 4029

	// ClosePermanent is the lowest code after which no client connects again. No
	// server sends one yet; clients obey it all the same.
	ClosePermanent = 4500
)
