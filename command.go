package taskfeed

import "time"

// CommandKind says what a command asks of every server.
type CommandKind string

// The kinds of commands.
const (
	// CommandDisconnectUser closes all connections of the user that Argument names.
	CommandDisconnectUser CommandKind = "disconnect_user"
	// CommandDisconnectConnection closes the connection that Argument names.
	CommandDisconnectConnection CommandKind = "disconnect_connection"
)

// Command asks something of every server that shares a database, once.
type Command struct {
	ID        int64
	Kind      CommandKind
	Argument  string // 1 to 255 bytes
	CreatedAt time.Time
}
