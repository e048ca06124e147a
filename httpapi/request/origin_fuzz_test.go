package request

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func FuzzOrigin(f *testing.F) {
	f.Fuzz(func(t *testing.T, s, host string) {
		o, ok := parseOrigin(s)
		if ok && o.scheme != "file" && (o.host == "" || o.isWeb() && o.port == "") {
			t.Fatalf("origin %q is read as %+v", s, o)
		}
		if o.sameHost(host) && !o.isWeb() {
			t.Fatalf("origin %q passes for the server %q, and is no web page", s, host)
		}
		list, err := ReadOrigins([]string{s})
		if r := httptest.NewRequest(http.MethodGet, "http://taskfeed.invalid/", nil); err == nil && ok && len(list.exact) > 0 {
			for settled := range list.exact {
				r.Header.Set("Origin", settled.String())
				if !list.Allow(r) {
					t.Fatalf("entry %q does not allow %s", s, settled)
				}
			}
		}
	})
}
