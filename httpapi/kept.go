package httpapi

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// kept keeps the answer to a question that costs something. Whoever asks gets an
// answer that is not too old; however many ask, one at a time looks for another,
// on nobody's account: a caller that hangs up does not spoil it for the others. A
// failure is an answer too, or a question that is too dear would be asked without
// end. It is safe for concurrent use.
type kept[T any] struct {
	find func() (T, error)
	// age is how old an answer may be that took so long to find.
	age func(took time.Duration) time.Duration

	flight singleflight.Group
	mu     sync.Mutex
	last   *finding[T]
}

// finding is what was found, or why not.
type finding[T any] struct {
	value T
	err   error
	at    time.Time // when it was found
	took  time.Duration
}

func newKept[T any](age func(time.Duration) time.Duration, find func() (T, error)) *kept[T] {
	return &kept[T]{find: find, age: age}
}

// always is the age that answers of a kind may have, whatever they cost.
func always(age time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return age }
}

// ask returns an answer that is fresh enough.
func (k *kept[T]) ask() finding[T] {
	if a := k.fresh(); a != nil {
		return *a
	}
	a, _, _ := k.flight.Do("", k.look)
	return *a.(*finding[T])
}

// askWithin is ask for one who does not wait longer than ctx: then it returns the
// answer before, or nil where there is none.
func (k *kept[T]) askWithin(ctx context.Context) *finding[T] {
	if a := k.fresh(); a != nil {
		return a
	}
	select {
	case r := <-k.flight.DoChan("", k.look):
		return r.Val.(*finding[T])
	case <-ctx.Done():
		k.mu.Lock()
		defer k.mu.Unlock()
		return k.last
	}
}

// fresh returns the last answer unless it is too old.
func (k *kept[T]) fresh() *finding[T] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.last == nil || time.Since(k.last.at) >= k.age(k.last.took) {
		return nil
	}
	return k.last
}

// look finds an answer, unless another call has just found one.
func (k *kept[T]) look() (any, error) {
	if a := k.fresh(); a != nil {
		return a, nil
	}
	began := time.Now()
	a := &finding[T]{}
	a.value, a.err = k.tryFind()
	a.at, a.took = time.Now(), time.Since(began)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last = a
	return a, nil
}

// tryFind keeps a panic from ending the process.
func (k *kept[T]) tryFind() (value T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicError(v)
		}
	}()
	return k.find()
}
