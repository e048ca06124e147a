// Package upgrade tests that servers of two versions work on one database, and that
// versions can be rolled both ways under load without losing an event. It has tests
// only.
//
// The version before is that of the last tag, and until there is one the commit before.
// Where it cannot be built, or where migrations that both have differ, which releases
// forbid, two builds of the same sources stand in for it; the test says so.
package upgrade
