package relay

import (
	"errors"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/hub"
)

func TestOverhear(t *testing.T) {
	t.Parallel()
	l := Lineage{ID: [16]byte{7}, Epoch: 2}
	batch := batch{lineage: l, from: 3, to: 9, at: time.Unix(1, 0), frames: []hub.Frame{{ID: 5, UserID: "alice", Type: "task_queued"}}}
	beacon := beacon{lineage: l, server: "one", sent: 9, head: 9}
	for what, tt := range map[string]struct {
		message []byte
		want    *Heard
		err     error
	}{
		"a batch":                    {batch.encode(true), &Heard{Lineage: l, Through: 9}, nil},
		"a beacon":                   {beacon.encode(), &Heard{Lineage: l, Server: "one", Through: 9}, nil},
		"a probe":                    {Probe(), nil, nil},
		"a question":                 {(&question{topic: askState}).encode(), nil, errMalformed},
		"a beacon that is cut off":   {beacon.encode()[:12], nil, errMalformed},
		"a message of other program": {[]byte("{}"), nil, errForeign},
	} {
		got, err := Overhear(tt.message)
		if !errors.Is(err, tt.err) || (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: got %+v, %v, want %+v, %v", what, got, err, tt.want, tt.err)
		}
	}
	if _, err := Overhear([]byte{'T', 'F', version + 1, byte(kindBeacon)}); err == nil {
		t.Error("a message of the next version: got no error, want one")
	}
}

// A probe changes nothing, and is not counted as refused.
func TestProbesAreIgnored(t *testing.T) {
	t.Parallel()
	p := placer{client: NewClient(nil, ClientConfig{})}
	if err := p.hear(Probe(), time.Now()); err != nil || p.client.counts.Refused.Load() != 0 || p.client.known || !p.heard.IsZero() {
		t.Errorf("placer: got %v and %d refused, want it ignored", err, p.client.counts.Refused.Load())
	}
	pub := &Publisher{}
	if pub.hear(Probe()); pub.counts.Refused.Load() != 0 || pub.heard != (beacon{}) {
		t.Errorf("publisher: got %d refused, want it ignored", pub.counts.Refused.Load())
	}
}
