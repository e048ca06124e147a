package natsrelay_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskfeed/taskfeed/lab/locked"
	"github.com/taskfeed/taskfeed/lab/natstest"
	"github.com/taskfeed/taskfeed/relay/natsrelay"
)

// secret is in passwords, and must be in no log.
const secret = "S3cretPass"

// watchedLog is a log that tells when it has a text.
type watchedLog struct {
	locked.Buffer
	want string
	met  func()
}

func (l *watchedLog) Write(b []byte) (int, error) {
	n, err := l.Buffer.Write(b)
	if strings.Contains(l.String(), l.want) {
		l.met()
	}
	return n, err
}

// wantReason tries to connect until the log has the reason why it cannot.
func wantReason(t *testing.T, what string, cfg natsrelay.Config, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	log := &watchedLog{want: want, met: cancel}
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	tr, err := natsrelay.Connect(ctx, cfg)
	if err == nil {
		tr.Close()
		t.Errorf("%s: got a connection, want none", what)
	}
	if text := log.String(); !strings.Contains(text, want) || strings.Contains(text, secret) || err != nil && strings.Contains(err.Error(), secret) {
		t.Errorf("%s: got the error %v and the log\n%swant %q and no password", what, err, text, want)
	}
}

// wantWorking connects, and sees that messages pass.
func wantWorking(t *testing.T, what string, cfg natsrelay.Config) *natsrelay.Transport {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	tr, err := natsrelay.Connect(ctx, cfg)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Cleanup(tr.Close)
	heard := make(chan string, 1)
	stop, err := tr.Subscribe("taskfeed.log", func(b []byte) { heard <- string(b) })
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	defer stop()
	if err := tr.Publish("taskfeed.log", []byte("hello")); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	select {
	case <-heard:
	case <-ctx.Done():
		t.Fatalf("%s: got no message, want one", what)
	}
	return tr
}

// Each reason why there is no connection is named (bad input 172).
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, others := newAuthority(t), newAuthority(t)
	later := time.Now().Add(time.Hour)
	serve := func(of *authority, p pair, more string) (encrypted, plain string) {
		s := natstest.Start(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q %s}", p.cert, p.key, of.ca, more))
		return strings.Replace(s.URL(), "nats://", "tls://", 1), s.URL()
	}
	good, plain := serve(ours, ours.issue("127.0.0.1", later), "")
	strict, _ := serve(ours, ours.issue("127.0.0.1", later), ", verify: true ")
	otherName, _ := serve(ours, ours.issue("10.9.9.9", later), "")
	expired, _ := serve(ours, ours.issue("127.0.0.1", time.Now().Add(-time.Minute)), "")
	bare := strings.Replace(natstest.Start(t, "").URL(), "nats://", "tls://core:"+secret+"@", 1)
	mine, foreign := ours.issue("127.0.0.2", later), others.issue("127.0.0.2", later)

	wantWorking(t, "the right authority", natsrelay.Config{URLs: good, CAFile: ours.ca})
	wantWorking(t, "nats:// where the engine encrypts", natsrelay.Config{URLs: plain, CAFile: ours.ca})
	wantWorking(t, "a certificate to show", natsrelay.Config{URLs: strict, CAFile: ours.ca, CertFile: mine.cert, KeyFile: mine.key})
	for what, tt := range map[string]struct {
		cfg  natsrelay.Config
		want string
	}{
		"another authority":              {natsrelay.Config{URLs: good, CAFile: others.ca}, "signed by an authority that is not known here"},
		"the system's authorities":       {natsrelay.Config{URLs: good}, "signed by an authority that is not known here"},
		"a certificate of another host":  {natsrelay.Config{URLs: otherName, CAFile: ours.ca}, "for other names than the one in the URL"},
		"an expired certificate":         {natsrelay.Config{URLs: expired, CAFile: ours.ca}, "is not valid now"},
		"an engine that encrypts not":    {natsrelay.Config{URLs: bare}, "the engine does not encrypt"},
		"no certificate to show":         {natsrelay.Config{URLs: strict, CAFile: ours.ca}, "the engine refuses this server's certificate, or wants one"},
		"a certificate of a stranger":    {natsrelay.Config{URLs: strict, CAFile: ours.ca, CertFile: foreign.cert, KeyFile: foreign.key}, "the engine refuses this server's certificate"},
		"a file that is not there":       {natsrelay.Config{URLs: good, CAFile: "/nowhere/ca.pem"}, "a file for the engine cannot be read"},
		"a password before a plain line": {natsrelay.Config{URLs: strings.Replace(good, "://", "://core:"+secret+"@", 1)}, "signed by an authority"},
	} {
		wantReason(t, what, tt.cfg, tt.want)
	}
}

// A user is known by a password, by a key, or by signed credentials.
func TestCredentials(t *testing.T) {
	t.Parallel()
	dir := natstest.Credentials(t)
	conf := func(name string) string { return read(t, filepath.Join(dir, name)) }
	at := func(name string) string { return filepath.Join(dir, name) }
	signed, key, password := natstest.Start(t, conf("users.conf")), natstest.Start(t, conf("key.conf")), natstest.Start(t, "authorization { user: core, password: "+secret+" }")

	wantWorking(t, "credentials", natsrelay.Config{URLs: signed.URL(), CredentialsFile: at("valid.creds")})
	wantWorking(t, "a key", natsrelay.Config{URLs: key.URL(), CredentialsFile: at("key.nk")})
	wantWorking(t, "a password", natsrelay.Config{URLs: password.URL(), User: "core", Password: secret})
	wantWorking(t, "a password in the URL", natsrelay.Config{URLs: strings.Replace(password.URL(), "://", "://core:"+secret+"@", 1)})
	const refuses = "the engine refuses the user or the password"
	wantReason(t, "a key in place of credentials", natsrelay.Config{URLs: signed.URL(), CredentialsFile: at("key.nk")}, refuses)
	wantReason(t, "credentials of another account", natsrelay.Config{URLs: key.URL(), CredentialsFile: at("valid.creds")}, refuses)
	wantReason(t, "a wrong password", natsrelay.Config{URLs: password.URL(), User: "core", Password: "x" + secret}, refuses)
	wantReason(t, "a wrong password in the URL", natsrelay.Config{URLs: strings.Replace(password.URL(), "://", "://core:x"+secret+"@", 1)}, refuses)
	wantReason(t, "no file", natsrelay.Config{URLs: signed.URL(), CredentialsFile: at("none")}, "a file for the engine cannot be read")
	wantReason(t, "no server", natsrelay.Config{URLs: "nats://core:" + secret + "@127.0.0.1:1"}, "no server of its URLs can be reached")
	wantReason(t, "a malformed URL", natsrelay.Config{URLs: "nats://core:%" + secret + "@127.0.0.1:1"}, "a URL of the engine is malformed")

	for name, good := range map[string]bool{"valid.creds": true, "key.nk": true, "key.conf": false, "none": false} {
		if err := natsrelay.CheckCredentials(at(name)); (err == nil) != good {
			t.Errorf("CheckCredentials of %s: got %v, want it good: %t", name, err, good)
		}
	}
}

// Credentials that expire end the connection; new ones in the same file bring it back.
func TestCredentialsAreRenewed(t *testing.T) {
	t.Parallel()
	dir := natstest.Credentials(t)
	s := natstest.Start(t, read(t, filepath.Join(dir, "users.conf")))
	file := filepath.Join(t.TempDir(), "engine.creds")
	replace := func(name string) {
		if err := os.WriteFile(file, []byte(read(t, filepath.Join(dir, name))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	natstest.BriefCredentials(t, dir, 10*time.Second)
	replace("brief.creds")
	told, met := context.WithTimeout(t.Context(), time.Minute)
	defer met()
	const want = "the credentials of the engine's user have expired at "
	log := &watchedLog{want: want, met: met}
	tr := wantWorking(t, "before", natsrelay.Config{URLs: s.URL(), CredentialsFile: file, Logger: slog.New(slog.NewTextHandler(log, nil))})
	<-told.Done()
	if text := log.String(); !strings.Contains(text, want) || tr.Up() {
		t.Fatalf("after they expired: up is %t and the log\n%swant %q", tr.Up(), text, want)
	}
	wantReason(t, "a connection with expired credentials", natsrelay.Config{URLs: s.URL(), CredentialsFile: file}, want)
	// It goes on trying, however often it is refused.
	eventually(t, "it is refused again and again", func() bool { return tr.Stats().Errors.Load() >= 10 })
	replace("valid.creds")
	eventually(t, "it is connected with new credentials", tr.Up)
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); !holds(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
