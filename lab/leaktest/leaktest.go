// Package leaktest fails a test binary that leaves goroutines behind.
//
// Every package's TestMain calls [Main]. The check runs once, after the last
// test, and waits a bounded while for goroutines that are just ending. It does
// not say which test leaked: the stack of the goroutine does. When a test
// failed, nothing is checked, for a failed test may well leave things open.
package leaktest

import "go.uber.org/goleak"

// Main runs the tests of m and exits the process: with their status when it is
// not zero, with 1 when goroutines outlived them, else with 0. Options exclude
// goroutines that belong to nobody here; say why beside each. It never returns.
func Main(m goleak.TestingM, options ...goleak.Option) {
	goleak.VerifyTestMain(m, options...)
}
