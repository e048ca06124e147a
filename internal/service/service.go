// Package service runs the long-lived parts of a process together: when one ends, all
// end, and the caller gets every error.
package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Service is one long-lived part. Run returns nil after an ordered stop.
type Service struct {
	Name string
	Run  func(context.Context) error
}

// RunAll runs every service until the first returns, stops the others, waits for
// all and reports every failure. An ordered stop is not a failure.
func RunAll(ctx context.Context, services ...Service) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	errs := make([]error, len(services)) // one slot each, so no lock
	var wg sync.WaitGroup
	for i, svc := range services {
		wg.Go(func() {
			defer stop(fmt.Errorf("%s ended", svc.Name))
			if err := svc.Run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", svc.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// RunServer runs http and the services that it needs. http ends when ctx is done or one
// of the others has ended; the others run until http has ended in order.
func RunServer(ctx context.Context, http func(context.Context) error, others ...Service) error {
	drained, stop := context.WithCancel(context.WithoutCancel(ctx)) // the feed goes on while connections drain
	defer stop()
	return RunAll(drained, append([]Service{{"http", func(running context.Context) error {
		either, stop := context.WithCancelCause(running)
		defer stop(nil)
		defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
		return http(either)
	}}}, others...)...)
}
