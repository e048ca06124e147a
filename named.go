package taskfeed

import "time"

// MaxClients is how many named clients a user may have.
const MaxClients = 32

const maxClientName = 64

// ValidClientName reports whether a client may have the name: a letter or digit, then
// letters, digits and _.:-, at most 64 characters.
func ValidClientName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9':
		case i > 0 && (c == '_' || c == '.' || c == ':' || c == '-'):
		default:
			return false
		}
	}
	return name != "" && len(name) <= maxClientName
}

// ClientTurn is a connection's place among those of a named client: the one with the
// greatest turn moves the client's cursor.
type ClientTurn struct {
	UserID string
	Name   string
	Turn   int64
}

// ClientMark says what has certainly arrived over a connection of a named client.
type ClientMark struct {
	ClientTurn
	Through Cursor // every event up to it
	Gone    bool   // the connection has ended
}

// NamedClient is a client whose cursor the server keeps.
type NamedClient struct {
	Name       string     `json:"name"`
	Cursor     Cursor     `json:"cursor"`     // what it gets next comes after it
	Connected  bool       `json:"connected"`  // to some server, as of SeenAt
	SeenAt     time.Time  `json:"seen_at"`    // when it was last known to be there
	Deliveries []Delivery `json:"deliveries"` // by ascending time; the older, the fewer
}

// Delivery is an entry of the delivery log: at that time the client had every event up to
// Through.
type Delivery struct {
	Through Cursor    `json:"through"`
	At      time.Time `json:"at"`
}
