package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// service is one long-lived part of the process.
type service struct {
	name string
	run  func(context.Context) error
}

// runAll runs every service until the first returns, stops the others, waits for
// all and reports every failure. An ordered stop is not a failure.
func runAll(ctx context.Context, services ...service) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	errs := make([]error, len(services)) // one slot each, so no lock
	var wg sync.WaitGroup
	for i, svc := range services {
		wg.Go(func() {
			defer stop(fmt.Errorf("%s ended", svc.name))
			if err := svc.run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", svc.name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// runServer runs http and the services that it needs. http ends when ctx is done or one
// of the others has ended; the others run until http has ended in order.
func runServer(ctx context.Context, http func(context.Context) error, others ...service) error {
	drained, stop := context.WithCancel(context.WithoutCancel(ctx)) // the feed goes on while connections drain
	defer stop()
	return runAll(drained, append([]service{{"http", func(running context.Context) error {
		either, stop := context.WithCancelCause(running)
		defer stop(nil)
		defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
		return http(either)
	}}}, others...)...)
}
