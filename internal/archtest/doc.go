// Package archtest tests the structure of the source tree: which package may import
// which, which packages may import an outside module, how long a file may be, and
// that no reminders of unfinished work are left. It has tests only and reads the
// source. The tables in rules_test.go are the rules; a new package or module needs a
// line there.
//
// It does not check comments or anything that needs types.
package archtest
