package taskfeed

import "time"

// CommandKind is what a command makes every server do.
type CommandKind string

// The kinds of commands.
const (
	// CommandDisconnectUser closes all connections of the user that Argument names.
	CommandDisconnectUser CommandKind = "disconnect_user"
	// CommandDisconnectConnection closes the connection that Argument names.
	CommandDisconnectConnection CommandKind = "disconnect_connection"
)

// Command makes every server of a database do something once.
type Command struct {
	ID        int64
	Kind      CommandKind
	Argument  string // 1 to 255 bytes
	CreatedAt time.Time
}
