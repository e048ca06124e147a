// Package forward sends the events of the log to an HTTPS endpoint, as Standard Webhooks
// (https://www.standardwebhooks.com).
//
// A Forwarder has a name. The database keeps by that name how far the log was sent, and
// which process sends: of several with one name, one works and the others wait. The
// process reads the log in order and sends the events of each user in order, those of
// several users in parallel. An event that the endpoint does not take is sent again,
// and when it has not been taken for too long, it is kept as a failure and the next one
// of its user is sent. The cursor passes an event only when it was delivered or is kept.
//
// Every event arrives at least once. After a crash, the events of at most one window
// arrive again, with the same webhook-id. Nothing is promised about the order of events
// of different users; broadcasts are in order among themselves.
package forward
