package httpapi

import (
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/auth"
	"github.com/taskfeed/taskfeed/hub"
)

func TestConfig(t *testing.T) {
	t.Parallel()

	t.Run("zero is the default and negative is off", func(t *testing.T) {
		t.Parallel()
		cfg := Config{Drain: -1, MessagesPerMinute: -7}.withDefaults()
		if cfg.Drain != off || cfg.MessagesPerMinute != off {
			t.Errorf("Drain %v and MessagesPerMinute %d, want both off", cfg.Drain, cfg.MessagesPerMinute)
		}
		if cfg.WriteTimeout != 5*time.Second || cfg.MaxMessageBytes != 64<<10 || cfg.HandshakesPerMinute != off || cfg.MetricsUsers != 1000 {
			t.Errorf("defaults are %+v", cfg)
		}
	})

	t.Run("every field that cannot be used is named", func(t *testing.T) {
		t.Parallel()
		verifier := must(auth.New(authConfig))
		for name, cfg := range map[string]Config{
			"WriteTimeout":   {WriteTimeout: -1, MaxBodyBytes: -1},
			"MaxHeaderBytes": {MaxHeaderBytes: -1, MaxBodyBytes: -1},
			"AllowedOrigins": {AllowedOrigins: []string{"app.example.com"}, MaxBodyBytes: -1},
		} {
			_, err := New(Deps{Hub: must(hub.New(new(memLog), hub.Config{})), Verifier: verifier}, cfg)
			if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "MaxBodyBytes") {
				t.Errorf("error %v, want it to name MaxBodyBytes and %s", err, name)
			}
		}
		if _, err := New(Deps{}, Config{Addr: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "Hub") || !strings.Contains(err.Error(), "Verifier") {
			t.Errorf("error %v, want it to name Hub and Verifier", err)
		}
	})

	t.Run("an address that is taken", func(t *testing.T) {
		t.Parallel()
		f := serve(t, setup{})
		s := must(New(f.deps, Config{Addr: strings.TrimPrefix(f.url, "http://")}))
		if err := s.Run(t.Context()); err == nil {
			t.Error("Run returned nil, want an error")
		}
	})
}
