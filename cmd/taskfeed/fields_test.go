package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/auth"
)

// Errors of auth name the fields of its Config; users see the settings.
func TestFieldsAreShownAsSettings(t *testing.T) {
	t.Parallel()
	wrong := auth.Config{
		Secret: []byte("-----BEGIN PUBLIC KEY-----"), PublicKeyFiles: []string{"/none"}, JWKSURL: "none",
		Algorithms: []string{"none"}, RoleClaim: "sub", Leeway: time.Hour,
	}
	_, all := auth.New(wrong)
	_, missing := auth.New(auth.Config{})
	_, issue := auth.Issue(auth.Config{JWKSURL: "none"}, "alice", "", time.Hour)
	for _, err := range []error{all, missing, issue} {
		if err == nil {
			t.Fatal("no error, want one to translate")
		}
		for line := range strings.SplitSeq(inSettings(err).Error(), "\n") {
			if !strings.HasPrefix(line, "TASKFEED_J") {
				t.Errorf("got %q, want a line that begins with a setting", line)
			}
			for field := range settingOf {
				if field != "Secret" && strings.Contains(line, field) {
					t.Errorf("got %q, want no name of a field", line)
				}
			}
		}
	}
}

// Every field in the table exists, and so does its setting.
func TestSettingsOfFieldsExist(t *testing.T) {
	t.Parallel()
	known := make(map[string]bool)
	for _, s := range (&config{}).tokenSettings() {
		known[s.env] = true
	}
	for field, name := range settingOf {
		if _, ok := reflect.TypeFor[auth.Config]().FieldByName(field); !ok || !known[name] {
			t.Errorf("%s is shown as %s, want a field of auth.Config and a setting", field, name)
		}
	}
}
