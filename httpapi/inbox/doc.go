// Package inbox takes messages of users to the app, over whatever they come, and answers
// each once it is durable or refused.
//
// Messages of all connections wait in one queue. [Inbox.Run] stores all that wait in one
// statement, and then what has come meanwhile: under load one commit serves hundreds of
// messages, and a single one waits for its own commit alone.
//
// An answer may get lost, and the client then sends the message again with the same ref.
// The store gives it the same answer as before. Two refusals do not say whether the
// message was stored before: that of the rate and that the database cannot be reached.
// They tell the client when to send it again.
//
// The package keeps nothing of a message once it is answered.
package inbox
