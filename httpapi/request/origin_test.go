package request

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// String is the origin as browsers write it.
func (o origin) String() string {
	host := o.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if o.port != "" && o.port != defaultPort(o.scheme) {
		host += ":" + o.port
	}
	return o.scheme + "://" + host
}

// TestAllowedOrigins: origins with other schemes than http and https could not be
// allowed, and names with a star or an umlaut were accepted and matched no page.
func TestAllowedOrigins(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		entry   string
		allowed string // origins as browsers send them, separated by spaces
		refused string
	}{
		{"https://app.example.com", "https://app.example.com https://app.example.com:443", "http://app.example.com https://example.com https://a.app.example.com null"},
		{"HTTPS://App.Example.COM:443", "https://app.example.com", "https://app.example.com:8443"},
		{"http://localhost:5173", "http://localhost:5173", "http://localhost https://localhost:5173"},
		{"http://localhost:080", "http://localhost", "http://localhost:8080"},
		{"http://[::0001]:3000", "http://[::1]:3000", "http://[::2]:3000"},
		{"http://192.168.1.7:3000", "http://192.168.1.7:3000", "http://192.168.1.8:3000"},
		{"http://my_host:3000", "http://my_host:3000", "http://my-host:3000"},
		{"capacitor://localhost", "capacitor://localhost", "capacitor://other ionic://localhost http://localhost capacitor://localhost:1"},
		{"ionic://localhost", "ionic://localhost", "capacitor://localhost"},
		{"tauri://localhost", "tauri://localhost", "http://localhost"},
		{"http://tauri.localhost", "http://tauri.localhost", "tauri://localhost https://tauri.localhost"},
		{"chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba"},
		{"moz-extension://*", "moz-extension://2b9aa32c-6b5e-4b0e-9b7c-1f2e3d4c5b6a", "chrome-extension://2b9aa32c null moz-extension://"},
		{"safari-web-extension://*", "safari-web-extension://5F1A0F3C-0000-4000-8000-000000000001", "moz-extension://a"},
		{"vscode-webview://*", "vscode-webview://0p3h5tq7ml7c1n9g5j1ju1", "https://0p3h5tq7ml7c1n9g5j1ju1"},
		{"app://.", "app://.", "app://- app://x"},
		{"app://-", "app://-", "app://."},
		{"app://obsidian.md", "app://obsidian.md", "https://obsidian.md"},
		{"app://*", "app://obsidian.md app://. app://com.example.app", "tauri://localhost"},
		{"file://", "file://", "null https://file"},
		{"null", "null", "file:// https://null nullx"},
		{"https://*.example.com", "https://a.example.com https://a-1.example.com:443 https://xn--bcher-kva.example.com",
			"https://example.com https://a.b.example.com http://a.example.com https://a.example.com:8443 https://aexample.com https://.example.com https://a.example.com.evil.io https://evil.io"},
		{"https://*.example.com:8443", "https://a.example.com:8443", "https://a.example.com"},
		{"http://*.localhost:3000", "http://tenant.localhost:3000", "http://localhost:3000"},
		{"https://bücher.example", "https://xn--bcher-kva.example", "https://bucher.example"},
		{"https://BÜCHER.example", "https://xn--bcher-kva.example", "https://xn--bcher.example"},
		{"https://straße.example", "https://xn--strae-oqa.example", "https://strasse.example"},
		{"https://xn--bcher-kva.example", "https://xn--bcher-kva.example", "https://bcher.example"},
		{"https://*.bücher.example", "https://shop.xn--bcher-kva.example", "https://xn--bcher-kva.example"},
		{"https://例え。テスト", "https://xn--r8jz45g.xn--zckzah", "https://xn--zckzah"},
		{"*", "https://anywhere.example capacitor://localhost file://", "null nonsense ftp://x"},
	} {
		list, err := ReadOrigins([]string{"https://another.example", tc.entry})
		if err != nil {
			t.Errorf("%s: %v, want it accepted", tc.entry, err)
			continue
		}
		for _, o := range strings.Fields(tc.allowed) {
			if !list.Allow(requestFrom(o)) {
				t.Errorf("%s: a page of %s is refused", tc.entry, o)
			}
		}
		for _, o := range strings.Fields(tc.refused) {
			if list.Allow(requestFrom(o)) {
				t.Errorf("%s: a page of %s is let in", tc.entry, o)
			}
		}
	}
}

func requestFrom(origin string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://feed.invalid/v1/me", nil)
	r.Header.Set("Origin", origin)
	return r
}

// TestBadInput100OriginsThatNeverMatch: an entry that no page's origin can match is
// refused by name at the start.
func TestBadInput100OriginsThatNeverMatch(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{
		"", "app.example.com", "*.example.com", "example.com:443", "//app.example.com", "https:app.example.com", "https://",
		"https://app.example.com/", "https://app.example.com/path", "https://app.example.com?x", "https://app.example.com#x", "https://u@app.example.com",
		"https://*", "http://*", "https://*.", "https://a*.example.com", "https://*a.example.com", "https://a.*.com", "https://*.*.example.com", "https://**.example.com", "*://example.com",
		"https://*.com", "https://*.co.uk", "https://*.1.2.3.4", "https://*:8080",
		"https://app.example.com:0", "https://app.example.com:65536", "https://app.example.com:*", "https://app.example.com:http",
		"https://1.2.3", "http://127.1", "http://0x7f000001", "http://2130706433", "http://1.2.3.999", "http://[fe80::1%25eth0]",
		"https://a..example.com", "https://exa mple.com", "https://example.com,", "https://\u00ad", "https://xn--a", "https://a%2eb",
		"wss://app.example.com", "ws://app.example.com", "ftp://app.example.com", "data:text/html,x", "blob:https://app.example.com/x", "javascript:0", "about:blank",
		"file:///index.html", "file://localhost", "capacitor://", "capacitor://localhost/", "capacitor:localhost", "app://ü", "'https://app.example.com'", "null/", "https://a\x00.example.com",
	} {
		err := CheckOrigins([]string{"https://good.example", entry})
		if err == nil || !strings.HasPrefix(err.Error(), "entry 2: ") || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "good") {
			t.Errorf("%q: got %v, want a refusal of this entry alone", entry, err)
		}
	}
}

func TestOriginWarnings(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		"null": "sandboxed frame", "file://": "null is not", "moz-extension://*": "every app or extension", "https://*.github.io": "everybody can have a page",
		"https://*.example.com": "", "http://*.localhost": "", "capacitor://localhost": "", "*": "", "nonsense": "", "file://,null": "sandboxed frame",
	} {
		got := strings.Join(OriginWarnings(strings.Split(entry, ",")), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) || strings.Contains(got, "\n") {
			t.Errorf("%s: warnings %q, want one with %q, or none", entry, got, want)
		}
	}
}
