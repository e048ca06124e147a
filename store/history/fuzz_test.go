package history

import (
	"testing"

	"github.com/taskfeed/taskfeed"
	"github.com/taskfeed/taskfeed/store/internal/pg"
)

// FuzzPageToken: a page token is refused, or it is just the one that the place it
// leads to has.
func FuzzPageToken(f *testing.F) {
	const list = 0x1234567890abcdef
	for _, p := range []place{placeFirst, placeLast, {at: placeFirst.at, key: "task-1"}, {at: placeLast.at, key: "ä\x01"}} {
		f.Add(p.token(list))
	}
	f.Fuzz(func(t *testing.T, token string) {
		p, err := parseToken(token, list)
		if err != nil {
			if taskfeed.CodeOf(err) != taskfeed.CodeBadRequest || p != (place{}) {
				t.Errorf("%q: got %+v, %v, want bad_request", token, p, err)
			}
			return
		}
		if p.at.Before(placeFirst.at) || p.at.After(placeLast.at) || !pg.IsText(p.key) {
			t.Errorf("%q: got a place that Postgres cannot compare with: %+v", token, p)
		}
		if got := p.token(list); got != token {
			t.Errorf("%q: got the place of %q", token, got)
		}
		if _, err := parseToken(token, list+1); err == nil {
			t.Errorf("%q: accepted for another list", token)
		}
	})
}
