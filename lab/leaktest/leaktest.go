// Package leaktest fails a test binary that leaves goroutines behind.
//
// Every package's TestMain calls [Main]. The check runs once, after the last test, and
// waits a bounded time for goroutines that are just ending. The stack of a leaked
// goroutine shows which test has leaked it. When a test failed, nothing is checked,
// because a failed test may leave things open.
package leaktest

import "go.uber.org/goleak"

// Main runs the tests of m and exits the process: with their status when it is
// not zero, with 1 when goroutines outlived them, else with 0. Options exclude
// goroutines of other packages; say why beside each. It never returns.
func Main(m goleak.TestingM, options ...goleak.Option) {
	goleak.VerifyTestMain(m, options...)
}
