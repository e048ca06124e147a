// Package cache keeps the answer to a question that is expensive to ask.
package cache

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Value caches what find returns, an error as well: otherwise a question that always
// fails would be asked without end. However many callers ask, one call of find runs
// at a time, and it belongs to none of them, so a caller that gives up does not fail
// the others. It is safe for concurrent use.
type Value[T any] struct {
	find func() (T, error)
	// age is how old a result may be that took so long to find.
	age func(took time.Duration) time.Duration

	flight singleflight.Group
	mu     sync.Mutex
	last   *Result[T]
}

// Result is what find returned.
type Result[T any] struct {
	Value T
	Err   error
	Found time.Time // when find returned
	took  time.Duration
}

// New returns a cache of what find returns. A result is used until it is as old as
// age returns for the time that find took.
func New[T any](age func(took time.Duration) time.Duration, find func() (T, error)) *Value[T] {
	return &Value[T]{find: find, age: age}
}

// For is the age of results that are all used for as long.
func For(age time.Duration) func(time.Duration) time.Duration {
	return func(time.Duration) time.Duration { return age }
}

// Get returns a result that is fresh enough, and waits for one where there is none.
func (v *Value[T]) Get() Result[T] {
	if r := v.fresh(); r != nil {
		return *r
	}
	r, _, _ := v.flight.Do("", v.refresh)
	return *r.(*Result[T])
}

// GetWithin is Get, but when ctx ends it returns the last result however old, nil
// where there is none.
func (v *Value[T]) GetWithin(ctx context.Context) *Result[T] {
	if r := v.fresh(); r != nil {
		return r
	}
	select {
	case r := <-v.flight.DoChan("", v.refresh):
		return r.Val.(*Result[T])
	case <-ctx.Done():
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.last
	}
}

// fresh returns the last result unless it is too old.
func (v *Value[T]) fresh() *Result[T] {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.last == nil || time.Since(v.last.Found) >= v.age(v.last.took) {
		return nil
	}
	return v.last
}

// refresh asks, unless another call has just done so.
func (v *Value[T]) refresh() (any, error) {
	if r := v.fresh(); r != nil {
		return r, nil
	}
	began := time.Now()
	r := &Result[T]{}
	r.Value, r.Err = v.tryFind()
	r.Found, r.took = time.Now(), time.Since(began)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = r
	return r, nil
}

// tryFind turns a panic into an error.
func (v *Value[T]) tryFind() (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return v.find()
}
