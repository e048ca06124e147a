// Package relay carries the log from servers with a database, the cores, to servers
// without one, the gateways.
//
// # Model
//
// The core that leads publishes what its hub announces. Each batch says "the events of
// the log after from and up to to are exactly these". A gateway applies a batch only if
// from <= head < to, so it does not matter when the transport loses, repeats, reorders or
// delays messages, or when two cores publish at once. Once a second, and after each
// burst, a beacon names the last event that was published: so the loss of a last message
// is found, too. What is missing is asked of any core.
//
// Batches stay true for ever, except when the log forks: after a failover that lost its
// last events, or after a restore. Then the epoch of the log rises; a gateway forgets
// what it keeps of the old one and ignores those who still speak of it.
//
// # Parts
//
// A [Publisher] is a subscriber of a core's hub that writes to the transport. A
// [Receiver] places in a gateway's hub what it hears. A [Client] asks the cores; it is
// the log of a gateway's hub. An [Answerer] answers on a core.
//
// # What it does not do
//
// It relies on the transport for progress only: sometimes a message must get through.
// It does not hide events: a gateway, and whoever can read the transport, sees the
// events of all users.
package relay
