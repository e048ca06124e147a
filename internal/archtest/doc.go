// Package archtest holds the shape of the source tree to its rules: which package
// may import which, which package an outside module lives in, how long a file may
// grow, and what must not be left lying in it. It reads the source and has nothing
// to import. The tables in rules_test.go are the rules; a new package or module
// gets its line there.
//
// It does not judge names, comments or anything that needs types.
package archtest
