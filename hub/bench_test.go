package hub

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/taskfeed/taskfeed"
)

// connect makes n users with one parked subscriber each.
func connect(b *testing.B, r *rig, n int, wake func(*Subscriber)) []*Subscriber {
	b.Helper()
	subs := make([]*Subscriber, n)
	for i := range subs {
		s, err := r.Subscribe(SubscribeOptions{Filter: of(fmt.Sprintf("user-%08d", i)), Wake: func() { wake(subs[i]) }})
		if err != nil {
			b.Fatalf("Subscribe: %v", err)
		}
		subs[i] = s
		park(b, s)
	}
	return subs
}

// park reads until the subscriber is parked.
func park(b *testing.B, s *Subscriber) {
	b.Helper()
	for {
		frames, err := s.Next(b.Context())
		if err != nil {
			b.Fatalf("Next: %v", err)
		}
		if len(frames) == 0 {
			return
		}
	}
}

// BenchmarkIdleSubscribers reports the memory of a parked subscriber with its
// reservation, one for each user, after one event for each user and one for all.
func BenchmarkIdleSubscribers(b *testing.B) {
	const n = 20_000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := newRig(b, Config{})
		releases := make([]func(), n)
		for i := range releases {
			release, err := r.Reserve(fmt.Sprintf("user-%08d", i))
			if err != nil {
				b.Fatalf("Reserve: %v", err)
			}
			releases[i] = release
		}
		var woken []*Subscriber
		subs := connect(b, r, n, func(s *Subscriber) { woken = append(woken, s) })
		for i := range subs {
			r.Publish([]taskfeed.Event{progress(taskfeed.Cursor(11+i), fmt.Sprintf("user-%08d", i))})
		}
		r.Publish([]taskfeed.Event{broadcast(11 + n)})
		for _, s := range subs {
			park(b, s)
		}
		woken = nil
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "bytes/subscriber")
		runtime.KeepAlive(subs)
		runtime.KeepAlive(releases)
	}
}

func BenchmarkPublishOneUser(b *testing.B) {
	r := newRig(b, Config{})
	connect(b, r, 10_000, func(s *Subscriber) { park(b, s) })
	id := taskfeed.Cursor(10)
	batch := make([]taskfeed.Event, 1)
	b.ReportAllocs()
	for b.Loop() {
		id++
		batch[0] = progress(id, "user-00000007")
		r.Publish(batch)
	}
}

func BenchmarkPublishNobody(b *testing.B) {
	r := newRig(b, Config{})
	connect(b, r, 10_000, func(s *Subscriber) { park(b, s) })
	id := taskfeed.Cursor(10)
	batch := make([]taskfeed.Event, 1000)
	b.ReportAllocs()
	for b.Loop() {
		for i := range batch {
			id++
			batch[i] = progress(id, "nobody")
		}
		r.Publish(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/event")
}

// BenchmarkBroadcast10k sends one event to 10,000 subscribers: the publisher's part
// alone, and together with the subscribers' part.
func BenchmarkBroadcast10k(b *testing.B) {
	for _, taken := range []bool{false, true} {
		b.Run(fmt.Sprintf("taken=%t", taken), func(b *testing.B) {
			r := newRig(b, Config{})
			var woken []*Subscriber
			connect(b, r, 10_000, func(s *Subscriber) { woken = append(woken, s) })
			id := taskfeed.Cursor(10)
			b.ReportAllocs()
			for b.Loop() {
				id++
				woken = woken[:0]
				r.Publish([]taskfeed.Event{broadcast(id)})
				if !taken {
					b.StopTimer()
				}
				for _, s := range woken {
					park(b, s)
				}
				if !taken {
					b.StartTimer()
				}
			}
		})
	}
}
