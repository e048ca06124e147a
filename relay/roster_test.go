package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/taskfeed/taskfeed/lab/relaytest"
	"github.com/taskfeed/taskfeed/relay"
)

// attend has a server answer inquiries with its name and the question, after a while.
func (f *fleet) attend(name string, log byte, after time.Duration) *relaytest.Link {
	link := f.net.Connect()
	f.run(func(ctx context.Context) error {
		return relay.Attend(ctx, link, "", relay.Attendant{
			Server: name,
			Log:    func() ([16]byte, bool) { return [16]byte{log}, log != 0 },
			Answer: func(question []byte) (relay.Reply, error) {
				time.Sleep(after)
				if string(question) == "fail" {
					return relay.Reply{}, errors.New("it fails")
				}
				return relay.Reply{Says: fmt.Appendf(nil, "%s: %s", name, question)}, nil
			},
		})
	})
	return link
}

func said(replies []relay.Reply) (all []string) {
	for _, r := range replies {
		all = append(all, r.Server+"|"+string(r.Says))
	}
	slices.Sort(all)
	return all
}

// All servers of the log are asked, and whoever does not answer is left out. A server that
// is known is waited for, the others for a moment.
func TestARosterAsksAll(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		a := f.attend("a", 1, 0)
		f.attend("b", 1, 50*time.Millisecond)
		f.attend("slow", 1, 400*time.Millisecond)
		f.attend("stranger", 2, 0)
		f.attend("new", 0, 0)
		synctest.Wait()
		roster := relay.NewRoster(f.net.Connect(), "", [16]byte{1})
		ask := func(when, question string, took time.Duration, want ...string) {
			t.Helper()
			began := time.Now()
			got := said(roster.Ask(f.ctx, []byte(question)))
			if !slices.Equal(got, want) || time.Since(began) != took {
				t.Errorf("%s: %q after %v, want %q after %v", when, got, time.Since(began), want, took)
			}
			time.Sleep(time.Second) // late answers
		}
		ask("at first", "x", 100*time.Millisecond, "a|a: x", "b|b: x")
		ask("two are known", "y", 100*time.Millisecond, "a|a: y", "b|b: y")
		a.Cut()
		ask("one is away", "y", time.Second, "b|b: y", "slow|slow: y")
		ask("the slow one is known", "y", 400*time.Millisecond, "b|b: y", "slow|slow: y")
		ask("all fail", "fail", time.Second)
		ask("nobody is known", "z", 100*time.Millisecond, "b|b: z")
		a.Heal()
		if r, err := roster.AskOne(f.ctx, "a", []byte("q")); err != nil || string(r.Says) != "a: q" {
			t.Errorf("one: %q (%v), want its answer", r.Says, err)
		}
		if _, err := roster.AskOne(f.ctx, "stranger", nil); err == nil {
			t.Error("a server of another log answers")
		}
	})
}

// A server answers a few questions at once and ignores others, and garbage.
func TestAttendIsBounded(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		f.attend("a", 1, time.Second/2)
		synctest.Wait()
		link := f.net.Connect()
		for _, garbage := range []string{"", "hello", "TF\x01\x05", "TF\x01\x05" + strings.Repeat("\xff", 100), string(relay.Probe())} {
			ctx, cancel := context.WithTimeout(f.ctx, time.Second)
			_ = link.Gather(ctx, relay.GatewaysSubject(""), []byte(garbage), func(answer []byte) bool {
				t.Errorf("%q is answered: %q", garbage, answer)
				return false
			})
			cancel()
		}
		answered := make(chan bool, 10)
		for range 10 {
			f.wg.Go(func() {
				_, err := relay.NewRoster(link, "", [16]byte{1}).AskOne(f.ctx, "a", nil)
				answered <- err == nil
			})
		}
		n := 0
		for range 10 {
			if <-answered {
				n++
			}
		}
		if n != 4 {
			t.Errorf("%d of 10 questions at once are answered, want 4", n)
		}
	})
}

// Items that do not fit into a message are left for the next page.
func TestALargeReplyIsCut(t *testing.T) {
	t.Parallel()
	inFleet(t, func(f *fleet) {
		link := f.net.Connect()
		f.run(func(ctx context.Context) error {
			return relay.Attend(ctx, link, "", relay.Attendant{Server: "a", Log: func() ([16]byte, bool) { return [16]byte{}, true },
				Answer: func([]byte) (r relay.Reply, _ error) {
					for i := range 100 {
						r.Items = append(r.Items, fmt.Appendf(nil, "%d%s", i, strings.Repeat("x", 20<<10)))
					}
					return r, nil
				}})
		})
		synctest.Wait()
		r, err := relay.NewRoster(f.net.Connect(), "", [16]byte{}).AskOne(f.ctx, "a", nil)
		if n := len(r.Items); err != nil || n < 40 || n > 50 || !r.More || !strings.HasPrefix(string(r.Items[n-1]), fmt.Sprint(n-1, "x")) {
			t.Errorf("%d items (%v), more %t; want those that fit into 1 MiB less 64 KiB", n, err, r.More)
		}
	})
}
