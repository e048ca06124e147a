// Package deploy holds what runs taskfeed: alert rules, dashboards, units, charts and
// recipes. It has no code but tests, which hold each file to the program: to the
// settings and metrics that docs/OPERATIONS.md lists, which tests in cmd/taskfeed hold
// to the program itself.
package deploy
