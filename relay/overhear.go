package relay

import "github.com/taskfeed/taskfeed"

// Heard is what a message to gateways says of the core that sent it.
type Heard struct {
	Lineage Lineage
	// Server names the core; only beacons do.
	Server string
	// Through is the event up to which the log has been published.
	Through taskfeed.Cursor
}

// Overhear reads a message that was published to gateways, and returns nil when it is a
// probe. The error says when it is of another program or another version.
func Overhear(message []byte) (*Heard, error) {
	k, d, err := open(message)
	if err != nil {
		return nil, err
	}
	switch k {
	case kindProbe:
		return nil, nil
	case kindBatch:
		if b, _ := decodeBatchHead(d); !d.failed {
			return &Heard{Lineage: b.lineage, Through: b.to}, nil
		}
	case kindBeacon:
		if b, err := decodeBeacon(d); err == nil {
			return &Heard{Lineage: b.lineage, Server: b.server, Through: b.sent}, nil
		}
	}
	return nil, errMalformed
}

// Probe returns a message on which nobody acts: it is sent to see whether it may be.
func Probe() []byte { return newEncoder(kindProbe).b }

// LogSubject is the subject on which cores publish the log.
func LogSubject(prefix string) string { return prefixOf(prefix) + subjectLog }

// GatewaysSubject is the subject on which cores ask gateways, and each other.
func GatewaysSubject(prefix string) string { return prefixOf(prefix) + subjectGateways }

// AskSubject is the subject on which gateways ask cores.
func AskSubject(prefix string) string { return prefixOf(prefix) + subjectAsk }
