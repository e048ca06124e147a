// Package rest answers the URLs of tasks and events: lists, one task, timelines,
// stats.
//
// A handler reads its parameters first and then asks the [History], so every bad
// parameter is refused here and by its name. A [Viewer] limits each handler to the
// rows that its caller may see, so admins and users share the handlers. A list is
// either one page or, as NDJSON or CSV, an export of all of it that is written while
// it is read.
package rest
