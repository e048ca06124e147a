package relay

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/hub"
)

var update = flag.Bool("update", false, "write the golden messages of this version")

// goldenMessages are messages of each kind, as this version writes them.
func goldenMessages() map[string][]byte {
	b := batch{lineage: ours, from: 10, to: 99, at: time.UnixMicro(5), frames: []hub.Frame{frame(11, "alice", "{}"), frame(99, "", "{}")}}
	said := beacon{lineage: ours, server: "core-1", sent: 5, head: 6, at: time.UnixMicro(7)}
	q := question{topic: askAfter, after: 77, limit: 500, filter: taskfeed.Filter{UserID: "alice", Feeds: []string{"team"}, TaskID: "t", Types: []taskfeed.Type{"a"}}}
	a := sampleAnswer()
	return map[string][]byte{"batch": b.encode(false), "beacon": said.encode(), "question": q.encode(), "answer": a.encode(false)}
}

// Messages that were written once, by this version and by those before, are read as they
// were meant: servers of two versions run while they are replaced one by one. When this
// fails for the present format and a release has that format, the format needs a new
// number; otherwise run the test with -update.
func TestMessagesOfReleasesAreRead(t *testing.T) {
	t.Parallel()
	now := goldenMessages()
	for v := oldestVersion; v <= version; v++ {
		dir := filepath.Join("testdata", "golden", "v"+string(rune('0'+v)))
		for kind, message := range now {
			path := filepath.Join(dir, kind)
			if *update && v == version {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, message, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			written, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := meaning(t, kind, written), meaning(t, kind, message); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got\n%+v\nwant\n%+v", path, got, want)
			}
		}
	}
}

// meaning reads a message of a kind.
func meaning(t *testing.T, what string, message []byte) (m any) {
	t.Helper()
	_, d, err := open(message)
	if err == nil {
		switch what {
		case "batch":
			b, count := decodeBatchHead(d)
			err = b.decodeFrames(d, count, nil)
			m = b
		case "beacon":
			m, err = decodeBeacon(d)
		case "question":
			m, err = decodeQuestion(message)
		case "answer":
			m, err = decodeAnswer(message)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return m
}
