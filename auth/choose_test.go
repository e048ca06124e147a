package auth

import (
	"slices"
	"testing"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	p := Principal{UserID: "alice", Feeds: []string{"team", "org"}}
	for _, c := range []struct {
		ids    []string
		userID string
		feeds  []string
		ok     bool
	}{
		{nil, "alice", []string{"team", "org"}, true},
		{[]string{"team"}, "team", nil, true},
		{[]string{"team", "team", "alice", "team", "alice"}, "team", []string{"alice"}, true},
		{[]string{"team", "bob"}, "", nil, false},
		{[]string{""}, "", nil, false},
	} {
		if userID, feeds, ok := p.Choose(c.ids); userID != c.userID || !slices.Equal(feeds, c.feeds) || ok != c.ok {
			t.Errorf("%q: %q, %q, %t; want %q, %q, %t", c.ids, userID, feeds, ok, c.userID, c.feeds, c.ok)
		}
	}
}
